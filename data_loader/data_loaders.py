"""The loaders that a configuration may name in `data_loader.type`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from data_loader.array_loaders import (
    ArrayDataLoader,
    ArrayDatasetSpec,
    ImbalanceArrayDataLoader,
    ImbalanceFactor,
    ShiftedTestArrayDataLoader,
)
from data_loader.datasets.archives import read_cifar, read_digits, read_fashion_mnist
from data_loader.folder_loader import ImageFolderDataLoader
from data_loader.list_loaders import ImageListDataLoader, ListDataLoader
from utils.config.ranges import PositiveInt

__all__ = [
    "CIFAR100DataLoader",
    "ImageFolderDataLoader",
    "ImageListDataLoader",
    "ImageNetLTDataLoader",
    "ImbalanceCIFAR10DataLoader",
    "ImbalanceCIFAR100DataLoader",
    "ImbalanceDigitsDataLoader",
    "ImbalanceFashionMNISTDataLoader",
    "PlacesLTDataLoader",
    "TestAgnosticImbalanceCIFAR100DataLoader",
    "iNaturalistDataLoader",
]

_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
_cifar_recipe = partial(ArrayDatasetSpec, padding=4, flip=True, degrees=15.0)
_CIFAR100_LT = _cifar_recipe(partial(read_cifar, num_classes=100), mean=_CIFAR_MEAN, std=_CIFAR_STD)


class ImbalanceCIFAR10DataLoader(ImbalanceArrayDataLoader):
    """CIFAR-10-LT."""

    recipe = _cifar_recipe(partial(read_cifar, num_classes=10), mean=_CIFAR_MEAN, std=_CIFAR_STD)


class ImbalanceCIFAR100DataLoader(ImbalanceArrayDataLoader):
    """CIFAR-100-LT."""

    recipe = _CIFAR100_LT


class TestAgnosticImbalanceCIFAR100DataLoader(ShiftedTestArrayDataLoader):
    """CIFAR-100-LT with a shifted test split."""

    __test__ = False  # not a test, whatever its published name makes pytest think
    recipe = _CIFAR100_LT


class CIFAR100DataLoader(ArrayDataLoader):
    """The balanced CIFAR-100."""

    recipe = _cifar_recipe(
        partial(read_cifar, num_classes=100), mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)
    )


@dataclass(kw_only=True, eq=False)
class ImbalanceDigitsDataLoader(ImbalanceArrayDataLoader):
    """Long-tailed handwritten digits, embedded in scikit-learn: 16×16 pixels, nothing to download.

    Args:
        data_dir: not needed.
        imb_factor: the inverse of the imbalance ratio.
        max_per_class: at most so many training images of a class.
    """

    recipe = ArrayDatasetSpec(read_digits, mean=(0.306,) * 3, std=(0.318,) * 3, padding=2, flip=False, degrees=10.0)

    data_dir: str = ""
    imb_factor: ImbalanceFactor = 1 / 40
    max_per_class: PositiveInt | None = 120


class ImbalanceFashionMNISTDataLoader(ImbalanceArrayDataLoader):
    """Long-tailed Fashion-MNIST, 28×28 pixels."""

    recipe = ArrayDatasetSpec(
        read_fashion_mnist, mean=(0.286,) * 3, std=(0.353,) * 3, padding=2, flip=True, degrees=0.0
    )


@dataclass(kw_only=True, eq=False)
class ImageNetLTDataLoader(ImageListDataLoader):
    """ImageNet-LT.

    Args:
        num_classes: 1000.
        train_txt: list of the training images.
        val_txt: list of the validation images: 20 a class, from ImageNet's training images.
        test_txt: list of the test images: ImageNet's validation images.
    """

    num_classes: PositiveInt = 1000
    train_txt: str = "./data_txt/ImageNet_LT/ImageNet_LT_train.txt"
    val_txt: str | None = "./data_txt/ImageNet_LT/ImageNet_LT_val.txt"
    test_txt: str = "./data_txt/ImageNet_LT/ImageNet_LT_test.txt"


@dataclass(kw_only=True, eq=False)
class PlacesLTDataLoader(ImageListDataLoader):
    """Places-LT.

    Args:
        num_classes: 365.
        train_txt: list of the training images.
        val_txt: list of the validation images.
        test_txt: list of the test images.
    """

    num_classes: PositiveInt = 365
    train_txt: str = "./data_txt/Places_LT_v2/Places_LT_train.txt"
    val_txt: str | None = "./data_txt/Places_LT_v2/Places_LT_val.txt"
    test_txt: str = "./data_txt/Places_LT_v2/Places_LT_test.txt"


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
