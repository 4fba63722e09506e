"""What the loaders have in common whose images list files name: `train_txt` and the lists of the other splits."""

from __future__ import annotations

import os
from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from data_loader.datasets.splits import Splits
from data_loader.file_loader import FileDataLoader, Inventory
from data_loader.lists.list_files import ImageList, parse_list, positions, read_list
from data_loader.lists.manifest import is_published
from data_loader.loader import ListedImages
from data_loader.run_changes import tell_changed_lists
from utils.config.ranges import PositiveInt
from utils.errors import UserError


@dataclass(kw_only=True, eq=False)
class ListDataLoader(FileDataLoader):
    """Images named by list files.

    Args:
        train_txt: list of the training images.
        num_classes: C; labels are 0 … C − 1.
    """

    images_named_by: ClassVar[str] = "train_txt"

    train_txt: str
    num_classes: PositiveInt = field()  # required: without this the inherited property would be its default

    @property
    @abstractmethod
    def validation_list(self) -> str:
        """The list file of the validation split."""

    @property
    @abstractmethod
    def test_list(self) -> str:
        """The list file of the test split."""

    @property
    def is_public(self) -> bool:
        """Whether all lists are published ones, by their contents."""
        paths = [Path(path) for path in set(self._list_files.values())]
        return all(path.is_file() and is_published(path) for path in paths)

    def find_files(self) -> Splits[ImageList]:
        """The run's own split where it has been kept, else what the lists say; they are read once."""
        return self._files

    @cached_property
    def _files(self) -> Splits[ImageList]:
        known = self.known
        if known is None:
            return self._read_lists()
        if known.kept is not None and not known.recut:
            if all(Path(path).is_file() for path in self._list_files.values()):
                tell_changed_lists(known, self._read_lists(), kept=True)
            return Splits(known.kept.files, known.class_names)
        found = self._read_lists()
        tell_changed_lists(known, found, kept=False)
        return found

    @property
    def _list_files(self) -> dict[str, str]:
        return {"train": self.train_txt, "validation": self.validation_list, "test": self.test_list}

    def _read_lists(self) -> Splits[ImageList]:
        """One that serves two splits is read once."""
        lists = {path: read_list(path, self.num_classes) for path in dict.fromkeys(self._list_files.values())}
        class_names = _class_names(lists[self.train_txt], self.num_classes)
        return Splits({split: lists[path] for split, path in self._list_files.items()}, class_names)

    def inventory(self) -> Inventory:
        """Every image that a list names, and the lines that are wrong."""
        list_files = self._list_files
        parsed = {path: parse_list(path, self.num_classes) for path in dict.fromkeys(list_files.values())}
        bad_lines = [line for _, lines in parsed.values() for line in lines]
        return Inventory.of(self.data_dir, {split: parsed[path][0] for split, path in list_files.items()}, bad_lines)

    def listed_shift(self, direction: str, ratio: int) -> ListedImages | None:
        """The images that `<test list's prefix>_<direction><ratio>.txt`, beside the test list, names.

        Raises:
            UserError: it names an image that the test list doesn't.
        """
        test_list = Path(self.test_list)
        prefix = test_list.stem.rpartition("_")[0] or test_list.stem
        shift_list = test_list.with_name(f"{prefix}_{direction}{ratio}.txt")
        if not shift_list.is_file():
            return None
        wanted = read_list(shift_list, self.num_classes).paths
        indices = positions(self.find_files()["test"].paths, wanted)
        if (indices < 0).any():
            stray = os.fsdecode(wanted[np.argmin(indices)])
            raise UserError(f"{shift_list}: {stray} is not among the test images of {test_list}")
        return ListedImages(indices, is_published(shift_list))


def _class_names(train: ImageList, num_classes: int) -> list[str]:
    """The folder that each class's images lie in, where no two classes share one; else the labels as text."""
    names = [str(label) for label in range(num_classes)]
    labels, first = np.unique(train.targets, return_index=True)
    for label, path in zip(labels, train.paths[first], strict=True):
        names[label] = Path(os.fsdecode(path)).parent.name
    return names if len(set(names)) == num_classes else [str(label) for label in range(num_classes)]
