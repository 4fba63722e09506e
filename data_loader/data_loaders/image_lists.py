"""Any images with a list file for each split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from data_loader.list_loader import ListDataLoader

__all__ = ["ImageListDataLoader"]


@dataclass(kw_only=True, eq=False)
class ImageListDataLoader(ListDataLoader):
    """Any data set with a list file for each split.

    Args:
        test_txt: list of the test images.
        val_txt: list of the validation images; null: the test images.
        apply_exif: turn images as their EXIF orientation says.
    """

    keeps_split: ClassVar[bool] = True

    test_txt: str
    val_txt: str | None = None
    apply_exif: bool = True

    @property
    def validation_list(self) -> str:
        """The list file of the validation split."""
        return self.val_txt or self.test_txt

    @property
    def test_list(self) -> str:
        """The list file of the test split."""
        return self.test_txt
