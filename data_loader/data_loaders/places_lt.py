"""Places-LT."""

from __future__ import annotations

from dataclasses import dataclass

from data_loader.data_loaders.image_lists import ImageListDataLoader
from utils.config.ranges import PositiveInt

__all__ = ["PlacesLTDataLoader"]


@dataclass(kw_only=True, eq=False)
class PlacesLTDataLoader(ImageListDataLoader):
    """Places-LT.

    Args:
        num_classes: 365.
        train_txt: list of the training images.
        val_txt: list of the validation images.
        test_txt: list of the test images.
        apply_exif: turn images as their EXIF orientation says, which the published code doesn't.
    """

    num_classes: PositiveInt = 365
    train_txt: str = "./data_txt/Places_LT_v2/Places_LT_train.txt"
    val_txt: str | None = "./data_txt/Places_LT_v2/Places_LT_val.txt"
    test_txt: str = "./data_txt/Places_LT_v2/Places_LT_test.txt"
    apply_exif: bool = False
