"""What a run knows of its images, so that nothing about them changes behind its back.

Class names and counts stand in its checkpoints, and which image is in which split in list files in its folder: a folder
of images that has gained, lost or renamed some is neither split anew nor read under other labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_loader.datasets.splits import Splits
from data_loader.lists.list_files import ImageList, read_list, write_list

FOLDER = "split"
"""The folder, within a run's, of the list files `train.txt`, `validation.txt`, `test.txt`."""
_ALL = ("train", "validation", "test")
_DECISIVE = ("data_dir", "split_folders", "test_fraction", "val_fraction")


@dataclass(frozen=True)
class RunData:
    """A run's images as its checkpoint and its folder have them.

    Args:
        class_names: in the order of the labels, length C.
        class_counts: training images of each class, length C; None where the checkpoint doesn't say.
        files: the images of each split; None where they were not kept, or where the images now lie elsewhere.
        elsewhere: the configuration names another folder, or other parts of it, than the run was trained on.
    """

    class_names: list[str]
    class_counts: list[int] | None
    files: Mapping[str, ImageList] | None
    elsewhere: bool

    @classmethod
    def of(cls, content: Mapping[str, Any], folder: Path, data_section: Mapping[str, Any]) -> RunData | None:
        """What a checkpoint and the run's folder hold of its images; None where the checkpoint holds nothing.

        Args:
            content: the checkpoint's.
            folder: the run's.
            data_section: `data_loader` of the configuration that is to be used now.

        Raises:
            UserError: a list file is damaged.
        """
        names, config = content.get("class_names"), content.get("config")
        if names is None or config is None:
            return None
        elsewhere = _decisive(config.get("data_loader")) != _decisive(data_section)
        lists = {name: folder / FOLDER / f"{name}.txt" for name in _ALL}
        kept = not elsewhere and all(path.is_file() for path in lists.values())
        files = {name: read_list(path, len(names)) for name, path in lists.items()} if kept else None
        return cls(list(names), content.get("class_counts"), files, elsewhere)


def freeze_split(folder: Path, files: Splits[ImageList]) -> None:
    """Write a run's split into its folder, unless it is there."""
    for name in _ALL:
        path = folder / FOLDER / f"{name}.txt"
        if not path.exists() and len(files[name]):
            write_list(path, files[name])


def _decisive(section: Any) -> dict[str, Any]:
    """What in a section `data_loader` decides on which images there are."""
    args = section.get("args", {}) if isinstance(section, Mapping) else {}
    return {name: args.get(name) for name in _DECISIVE}
