"""`train.py --images FOLDER`: look at the folder, choose, train, evaluate, and say what came of it."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from base.run_folder import BEST_NAME
from data_loader.check import build_loader
from data_loader.data_loaders.image_folders import ImageFolderDataLoader
from data_loader.datasets.file_set import FileSet
from data_loader.datasets.folder_walk import FolderWalk
from data_loader.datasets.split_folders import find_split_folders
from data_loader.folder_inspection import inspect_folder
from trainer.config.run_config import RunConfig
from trainer.evaluation.commands import print_test
from trainer.evaluation.results import RAW
from trainer.evaluation.scripts import evaluation_parser
from trainer.launch import launch
from trainer.own_images.choices import Choice, Circumstances, choices, nested, reading
from trainer.own_images.duration import in_words, reduced_share, seconds_of_epoch, seconds_of_step
from trainer.own_images.network import choose_network
from trainer.own_images.verdict import verdict
from trainer.pretrained import wanted_source
from trainer.report.automatic import report_by_itself, wants_report
from utils.config.overrides import read_overrides
from utils.config.parser import CONFIG_NAME, ConfigParser
from utils.distributed.environment import LaunchEnvironment, report_once
from utils.errors import UserError, printable
from utils.files.checkpoint_names import checkpoints_of

SOURCE = "what was chosen for the images"


def train_on_images(main: Callable[[], object], arguments: argparse.Namespace, environment: LaunchEnvironment) -> int:
    """All of it; arguments and result are those of `trainer.launch.launch`, and the flags."""
    with report_once(environment):
        plan = configuration_for(arguments)
    log_config = arguments.log_config

    def tell(config: RunConfig, device: torch.device) -> None:
        if environment.is_main:
            print("\n".join(plan.lines), flush=True)
            with suppress(MemoryError, RuntimeError):  # what is too much for the network is told when it is trained
                print(f"{plan.duration(config, device, processes=environment.size)}\n", flush=True)

    afterwards = partial(evaluate, environment=environment, log_config=log_config)
    return launch(main, plan.parser, environment, log_config=log_config, beforehand=tell, afterwards=afterwards)


@dataclass(frozen=True)
class Plan:
    """A configuration for a folder.

    Args:
        parser: the configuration.
        lines: what was found in the folder, and what was chosen and why.
        reading: seconds that reading an image took.
        reading_trained: the same of one to train on.
        images: training and validation images.
    """

    parser: ConfigParser
    lines: list[str]
    reading: float
    reading_trained: float
    images: tuple[int, int]

    def duration(self, config: RunConfig, device: torch.device, *, processes: int) -> str:
        """How long the training will take here, measured by a few steps, as a line."""
        args, epochs = config.data_loader.args, config.trainer.epochs
        batch: int = args["batch_size"]
        step = seconds_of_step(config, images=-(-batch // processes), side=args["image_size"], device=device)
        trained, validated = self.images
        epoch = seconds_of_epoch(
            step=step,
            read=self.reading,
            read_trained=self.reading_trained,
            batch=batch,
            trained=trained,
            validated=validated if config.trainer.validate else 0,
            workers=args.get("num_workers", 0),
        )
        stops = "; it ends before that where the held-out images get no better" if config.trainer.early_stop else ""
        took = f"{in_words(epoch * epochs)} for all {epochs} epochs, by {step:.2g} seconds a step"
        return f"Training takes {took}{stops}."


def configuration_for(arguments: argparse.Namespace) -> Plan:
    """The configuration for the folder that --images names.

    Raises:
        UserError: nothing can be learnt from the folder, or a flag names another one.
    """
    overrides = read_overrides(arguments)
    wanted = wanted_source(arguments)
    has_gpu = torch.cuda.is_available() and overrides.get("n_gpu", (1, ""))[0] != 0
    given, name = (overrides.get(path, ("", ""))[0] for path in ("arch.type", "arch.args.model_name"))
    network = choose_network(wanted, given=given or None, has_gpu=has_gpu, model_name=str(name))
    loader, read = _opened(arguments.images, overrides)
    begun = time.perf_counter()
    found = inspect_folder(loader, workers=torch.get_num_threads())
    reading = (time.perf_counter() - begun) / max(int(found.totals.sum()), 1)
    at = Circumstances(
        folder=arguments.images,
        class_counts=found.counts["train"].tolist(),
        validated=int(found.counts["validation"].sum()),
        side=found.side,
        has_gpu=has_gpu,
        network=network,
        given={path: value for path, (value, _) in overrides.items()},
    )
    config, reasons = nested(choices(at, read))
    reasons |= {path: f"given by {flag}" for path, (_, flag) in overrides.items() if path in reasons}
    parser = ConfigParser(config, source=SOURCE, overrides=overrides, remarks=reasons)
    lines = [*found.lines(), "", "chosen, each to be changed by a flag or --set KEY=VALUE:"]
    for path, reason in reasons.items():
        lines.append(f"  {path} = {printable(str(_value_at(parser.config, path)))}: {reason}")
    args, of_training = parser.config["data_loader"]["args"], loader.splits["train"]
    assert isinstance(of_training, FileSet)
    share = reduced_share(of_training, side=args["image_size"]) if args.get("reduced_decoding") is True else 1.0
    images = int(found.counts["train"].sum()), int(found.counts["validation"].sum())
    return Plan(parser, [*lines, ""], reading, reading * share, images)


def evaluate(folder: Path, *, environment: LaunchEnvironment, log_config: str | None) -> None:
    """Evaluate a run that has just been trained, by its best epoch, and say in words what that means."""
    best = folder / BEST_NAME
    checkpoint = best if best.is_file() else checkpoints_of(folder)[0]
    parser = ConfigParser.from_file(folder / CONFIG_NAME, resume=checkpoint)
    flags = evaluation_parser("", "").parse_args(["-r", str(checkpoint)])  # as test.py without further flags
    flags.log_config, flags.no_report = log_config, True  # the page comes below the words
    run = print_test(parser, environment, flags)
    if run is None:
        return
    loader, predictions = run.loader, run.predictions
    assert isinstance(loader, ImageFolderDataLoader)
    predicted = predictions.logits[RAW].mean(axis=1).argmax(axis=1)  # [N, E, C] → [N]
    cut = not find_split_folders(Path(loader.data_dir), loader.split_folders, FolderWalk()).held_out
    part = loader.test_fraction if cut else 0.0
    names = [printable(name) for name in loader.class_names]
    print("\n" + "\n".join(verdict(names, loader.cls_num_list, predicted, predictions.targets, tested_part=part)))
    has_page = wants_report(parser.config)
    if has_page:
        print()
        report_by_itself(folder)
    print("\n" + "\n".join(next_commands(folder, checkpoint, has_page=has_page)))


def next_commands(folder: Path, checkpoint: Path, *, has_page: bool) -> list[str]:
    """What can be done with a run that has been evaluated, as lines to copy.

    Args:
        folder: of the run.
        checkpoint: the one evaluated.
        has_page: whether its page has just been written.
    """
    run, weights, config = (shlex.quote(str(path)) for path in (folder, checkpoint, folder / CONFIG_NAME))
    page = f"  python -m tools.report {run}  # a page to look at: curves, each class, the mistakes with their images"
    return [
        "Next:",
        *([] if has_page else [page]),
        f"  python -m tools.predict {weights} NEW_IMAGES  # classes of new images: files or folders",
        f"  python -m tools.export {weights} --format torch  # one file for other programs",
        f"  python train.py -c {config}  # train again, after an edit of that file (the reasons stand in it)",
    ]


def _opened(folder: str, overrides: Mapping[str, tuple[Any, str]]) -> tuple[ImageFolderDataLoader, list[Choice]]:
    """The loader of a folder, which validates on no test image, and the choices that make it so."""
    of_data = {path: given for path, given in overrides.items() if path.partition(".")[0] == "data_loader"}
    for held_out in (False, True):
        read = reading(folder, validation_split=held_out)
        config = nested([*read, Choice("data_loader.args.batch_size", 1)])[0]  # of no matter for a look
        loader = build_loader(ConfigParser(config, source=SOURCE, overrides=of_data))
        if not isinstance(loader, ImageFolderDataLoader) or loader.data_dir != folder:
            raise UserError("--images names the images: leave out --data_dir and data_loader.type, or give -c CONFIG")
        files = loader.find_files()
        if files["validation"] is not files["test"]:
            break
    return loader, read


def _value_at(config: Any, path: str) -> Any:
    for key in path.split("."):
        config = config[key]
    return config
