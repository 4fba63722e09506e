"""From a run's configuration to its data loaders, and that none of them trains on test images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_loader.loader import ImageDataLoader
from data_loader.run_data import RunData
from data_loader.test_images import training_on_test_images
from trainer.config.components import DATA_LOADER
from trainer.config.run_config import RunConfig
from utils.config.components import fields_of
from utils.config.parser import ConfigParser
from utils.config.sections import Section, build
from utils.errors import ConfigError, Problem, UserError


def build_loader(config: RunConfig, *, processes: int = 1, known: RunData | None = None) -> ImageDataLoader:
    """The loader of the training split (or whichever the configuration asks for), its data read.

    Args:
        config: of the run.
        processes: of this run on this machine; `num_workers` is for all of them together.
        known: what the run that is continued or evaluated knows of its images.

    Raises:
        ConfigError: the network has another number of classes than the data.
        UserError: the data are missing or damaged.
    """
    loader = _build(config.data_loader, "data_loader", config, processes)
    if known is not None:
        loader.take_up(known)
    expected = config.arch.args["num_classes"]
    if loader.num_classes != expected:
        message = f"{expected} does not fit the data, which have {loader.num_classes} classes"
        raise ConfigError([config.arch.origins.tell(Problem("arch.args.num_classes", message))])
    return loader


def loader_of_checkpoint(
    config: RunConfig, parser: ConfigParser, content: Mapping[str, Any]
) -> tuple[ImageDataLoader, list[int] | None]:
    """The loader of a checkpoint's run, and the training images of each class (None: the checkpoint doesn't say).

    Its images need not be there, and can't be read: names and counts of the classes are the checkpoint's. Only where it
    has none, as a published one, the run's data are asked for them.

    Raises:
        UserError: neither checkpoint nor data say what the classes are called.
    """
    assert parser.resume is not None, "the flags were read"
    names, counts = content.get("class_names"), content.get("class_counts")
    if names is None:
        try:
            loader = build_loader(config).of_split("test")
            return loader, loader.cls_num_list
        except UserError as error:
            raise UserError(
                f"{parser.resume}: doesn't say what its classes are called, and the data can't be asked: {error}"
            ) from None
    loader = _build(config.data_loader, "data_loader", config, 1)
    return loader.without_images(list(names), counts or [0] * len(names)), counts


def build_loaders(config: RunConfig, *, processes: int = 1, known: RunData | None = None) -> dict[str, ImageDataLoader]:
    """All loaders to train from, by name: `data_loader` as "train", and the further ones that the method takes.

    Raises:
        ConfigError: one of them would train on test images, its own or another one's; and as `build_loader`.
        UserError: the data are missing or damaged.
    """
    sections = {"train": ("data_loader", config.data_loader)}
    sections |= {name: (f"loaders.{name}", section) for name, section in config.loaders.items()}
    loaders = {
        name: build_loader(config, processes=processes, known=known)
        if name == "train"
        else _build(section, path, config, processes)
        for name, (path, section) in sections.items()
    }
    test_files = {file for loader in loaders.values() for file in loader.splits["test"].files()}
    for name, loader in loaders.items():
        path, section = sections[name]
        if problem := training_on_test_images(loader, path, test_files=test_files):
            raise ConfigError([section.origins.tell(problem)])
    return loaders


def recalled_loader(config: RunConfig, then: Any, known: RunData) -> ImageDataLoader | None:
    """The loader of the images that a run was trained on, whatever the configuration says now.

    Args:
        config: the configuration now, whose folder of images is taken where the run's isn't there any more.
        then: section `data_loader` of the run's own.
        known: what the run knows of its images.

    Returns:
        None where they are not there, or are others by now.
    """
    args = dict(then.get("args", {})) if isinstance(then, Mapping) else {}
    kind = DATA_LOADER.choices().get(str(then.get("type"))) if args else None
    if kind is None:
        return None
    if "verify" in fields_of(kind):
        args["verify"] = False  # nothing is downloaded for this
    if not Path(str(args.get("data_dir", ""))).exists():
        args["data_dir"] = config.data_loader.args.get("data_dir", "")
    try:
        loader = _build(Section(str(then["type"]), args), "data_loader", config, 1)
        loader.take_up(replace(known, digests={}, moved=False, recut=False, evaluates=False, recalls=True))
        same_files = loader.split_digests.get("train") in (None, known.digests.get("train"))
        same_counts = known.class_counts in (None, loader.cls_num_list)
    except (UserError, TypeError):  # its arguments may be another version's
        return None
    return loader if same_files and same_counts else None


def known_images(
    parser: ConfigParser, config: RunConfig, path: Path | None, resumed: Mapping[str, Any] | None
) -> RunData | None:
    """What a run that is continued knows of its images; None for a new one, and where its weights alone are taken.

    Args:
        parser: the configuration; its `resume` is the checkpoint's file.
        config: the same, typed.
        path: the run's folder; None: a new one.
        resumed: the checkpoint's content.
    """
    if resumed is None or (path is None and (config.resume_state_dict_only or parser.resume is None)):
        return None
    folder = path or parser.resume.parent  # type: ignore[union-attr] # one of them there is
    return RunData.of(resumed, folder, parser.config["data_loader"], evaluates=False)


def _build(section: Section, path: str, config: RunConfig, processes: int) -> ImageDataLoader:
    loader = build(section, DATA_LOADER, context={"seed": config.seed}, path=path)
    loader.num_workers = -(-loader.num_workers // processes)
    return loader
