"""iNaturalist 2018."""

from __future__ import annotations

from dataclasses import dataclass

from data_loader.list_loader import ListDataLoader
from utils.config.ranges import PositiveInt

__all__ = ["iNaturalistDataLoader"]


@dataclass(kw_only=True, eq=False)
class iNaturalistDataLoader(ListDataLoader):
    """iNaturalist 2018; validation and test split are the same images.

    Args:
        num_classes: 8142.
        train_txt: list of the training images.
        eval_txt: list of the images for validation and test.
    """

    num_classes: PositiveInt = 8142
    train_txt: str = "./data_txt/iNaturalist18/iNaturalist18_train.txt"
    eval_txt: str = "./data_txt/iNaturalist18/iNaturalist18_val.txt"
    color_jitter: bool = False
    mean: tuple[float, float, float] = (0.466, 0.471, 0.380)
    std: tuple[float, float, float] = (0.195, 0.194, 0.192)

    @property
    def validation_list(self) -> str:
        """The list file of the validation split."""
        return self.eval_txt

    @property
    def test_list(self) -> str:
        """The list file of the test split."""
        return self.eval_txt
