"""What a run knows of its images, so that nothing about them changes behind its back.

Class names and counts and digests of the split stand in its checkpoints, the split itself in its folder (see
`data_loader.kept_split`): a folder of images that has gained, lost or renamed some is neither split anew nor read under
other labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_loader.datasets.splits import Splits
from data_loader.kept_split import KeptSplit, names_digest
from data_loader.lists.list_files import ImageList

_PARTS = ("train", "validation", "test")
_PLACE = "data_dir"
_FOLDERS = ("split_folders", "test_fraction", "val_fraction", "copies_in_training")
_DECISIVE = (*_FOLDERS, "train_txt", "val_txt", "test_txt", "eval_txt")


@dataclass(frozen=True)
class RunData:
    """A run's images as its checkpoint and its folder have them.

    Args:
        class_names: in the order of the labels, length C.
        class_counts: training images of each class, length C; None where the checkpoint doesn't say.
        digests: of each part's names and labels, see `digests_of`; empty where the checkpoint doesn't say.
        kept: the split; None where the run's folder doesn't have it.
        moved: the configuration names another folder of images than the run was trained on.
        recut: it names other parts of it, other lists or another kind of data set.
        evaluates: the test images are asked for, else those for training.
        recalls: what the images were is asked for, whether they are there or not.
    """

    class_names: list[str]
    class_counts: list[int] | None
    digests: Mapping[str, str]
    kept: KeptSplit | None
    moved: bool
    recut: bool
    evaluates: bool
    recalls: bool = False

    @classmethod
    def of(
        cls, content: Mapping[str, Any], folder: Path, data_section: Mapping[str, Any], *, evaluates: bool
    ) -> RunData | None:
        """What a checkpoint and the run's folder hold of its images; None where the checkpoint holds nothing.

        Args:
            content: the checkpoint's.
            folder: the run's.
            data_section: `data_loader` of the configuration that is to be used now.
            evaluates: whether it is used for evaluation, else for training.

        Raises:
            UserError: a file of the kept split is damaged.
        """
        names, config = content.get("class_names"), content.get("config")
        if names is None or config is None or "format_version" not in content:  # not ours: it may mean anything
            return None
        then, now = _Decisive.of(config.get("data_loader")), _Decisive.of(data_section)
        return cls(
            list(names),
            content.get("class_counts"),
            content.get("split_digests", {}),
            KeptSplit.read(folder, len(names)),
            moved=then.place != now.place,
            recut=then.parts != now.parts,
            evaluates=evaluates,
        )

    @property
    def elsewhere(self) -> bool:
        """Whether the configuration means other images than the run was trained on."""
        return self.moved or self.recut

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the split that must be there."""
        return ("test",) if self.evaluates else _PARTS

    def changed_parts(self, files: Splits[ImageList]) -> list[str]:
        """The parts whose images are no longer those that the checkpoint says."""
        now = digests_of(files)
        return [part for part, digest in self.digests.items() if now.get(part) != digest]


@dataclass(frozen=True)
class _Decisive:
    """What in a section `data_loader` decides on which images there are."""

    place: Any
    parts: tuple[Any, ...]

    @classmethod
    def of(cls, section: Any) -> _Decisive:
        section = section if isinstance(section, Mapping) else {}
        args = section.get("args", {})
        return cls(args.get(_PLACE), (section.get("type"), *(args.get(name) for name in _DECISIVE)))


def digests_of(files: Splits[ImageList]) -> dict[str, str]:
    """Digests of the names and labels in each part of a split, for the checkpoint."""
    return {part: names_digest(files[part]) for part in _PARTS}
