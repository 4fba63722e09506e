"""The loaders that a configuration may name in `data_loader.type`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from data_loader.archives import read_cifar, read_digits, read_fashion_mnist
from data_loader.array_loaders import (
    ArrayDataLoader,
    ArrayRecipe,
    ImbalanceArrayDataLoader,
    ImbalanceFactor,
    ShiftedTestArrayDataLoader,
)
from utils.ranges import PositiveInt

__all__ = [
    "CIFAR100DataLoader",
    "ImbalanceCIFAR10DataLoader",
    "ImbalanceCIFAR100DataLoader",
    "ImbalanceDigitsDataLoader",
    "ImbalanceFashionMNISTDataLoader",
    "TestAgnosticImbalanceCIFAR100DataLoader",
]

_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
_CIFAR_AUGMENTATION = {"padding": 4, "flip": True, "degrees": 15.0}
_CIFAR100_LT = ArrayRecipe(
    partial(read_cifar, num_classes=100), mean=_CIFAR_MEAN, std=_CIFAR_STD, **_CIFAR_AUGMENTATION
)


class ImbalanceCIFAR10DataLoader(ImbalanceArrayDataLoader):
    """CIFAR-10-LT."""

    recipe = ArrayRecipe(partial(read_cifar, num_classes=10), mean=_CIFAR_MEAN, std=_CIFAR_STD, **_CIFAR_AUGMENTATION)


class ImbalanceCIFAR100DataLoader(ImbalanceArrayDataLoader):
    """CIFAR-100-LT."""

    recipe = _CIFAR100_LT


class TestAgnosticImbalanceCIFAR100DataLoader(ShiftedTestArrayDataLoader):
    """CIFAR-100-LT with a shifted test split."""

    __test__ = False  # not a test, whatever its published name makes pytest think
    recipe = _CIFAR100_LT


class CIFAR100DataLoader(ArrayDataLoader):
    """The balanced CIFAR-100."""

    recipe = ArrayRecipe(
        partial(read_cifar, num_classes=100),
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        **_CIFAR_AUGMENTATION,
    )


@dataclass(kw_only=True, eq=False)
class ImbalanceDigitsDataLoader(ImbalanceArrayDataLoader):
    """Long-tailed handwritten digits, embedded in scikit-learn: 16×16 pixels, nothing to download.

    Args:
        data_dir: not needed.
        imb_factor: the inverse of the imbalance ratio.
        max_per_class: at most so many training images of a class.
    """

    recipe = ArrayRecipe(
        read_digits, mean=(0.306,) * 3, std=(0.318,) * 3, padding=2, flip=False, degrees=10.0
    )

    data_dir: str = ""
    imb_factor: ImbalanceFactor = 1 / 40
    max_per_class: PositiveInt | None = 120


class ImbalanceFashionMNISTDataLoader(ImbalanceArrayDataLoader):
    """Long-tailed Fashion-MNIST, 28×28 pixels."""

    recipe = ArrayRecipe(
        read_fashion_mnist, mean=(0.286,) * 3, std=(0.353,) * 3, padding=2, flip=True, degrees=0.0
    )
