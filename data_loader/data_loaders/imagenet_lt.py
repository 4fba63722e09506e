"""ImageNet-LT."""

from __future__ import annotations

from dataclasses import dataclass

from data_loader.data_loaders.image_lists import ImageListDataLoader
from utils.config.ranges import PositiveInt

__all__ = ["ImageNetLTDataLoader"]


@dataclass(kw_only=True, eq=False)
class ImageNetLTDataLoader(ImageListDataLoader):
    """ImageNet-LT.

    Args:
        num_classes: 1000.
        train_txt: list of the training images.
        val_txt: list of the validation images: 20 a class, from ImageNet's training images.
        test_txt: list of the test images: ImageNet's validation images.
        apply_exif: turn images as their EXIF orientation says, which the published code doesn't.
    """

    num_classes: PositiveInt = 1000
    train_txt: str = "./data_txt/ImageNet_LT/ImageNet_LT_train.txt"
    val_txt: str | None = "./data_txt/ImageNet_LT/ImageNet_LT_val.txt"
    test_txt: str = "./data_txt/ImageNet_LT/ImageNet_LT_test.txt"
    apply_exif: bool = False
