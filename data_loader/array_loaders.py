"""Loaders of data sets that fit in memory: one class, and a specification for each data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np

from base import View
from data_loader.datasets.image_sets import ArraySet, ImageSet
from data_loader.datasets.labelled_images import LabelledImages
from data_loader.datasets.longtail import longtail_counts, select_per_class, shifted_indices
from data_loader.datasets.splits import Splits
from data_loader.loader import ImageDataLoader
from data_loader.transforms.auto_augment import AutoAugment
from data_loader.transforms.batch_transforms import BatchTransform, CropFlipRotate, Cutout, Normalise
from data_loader.transforms.image_policies import TrivialAugmentWide
from utils.config.ranges import PositiveInt, Range

ImbalanceFactor = Annotated[float, Range(low=0, high=1, low_open=True)]


@dataclass(frozen=True)
class ArrayDatasetSpec:
    """What distinguishes one in-memory data set from another.

    Args:
        read: (data_dir, train=…, verify=…) → the images of a split.
        side: pixels along a side of the published images.
        mean: of each channel, on the scale 0 … 1.
        std: likewise.
        padding: zeros on each side before the training crop.
        flip: whether a mirrored image is still of its class.
        degrees: rotation of the standard augmentation, ± this.
        published_policy: whether the published code applied AutoAugment where it was asked for.
    """

    read: Callable[..., LabelledImages]
    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    padding: int
    flip: bool
    degrees: float
    published_policy: bool = True


@dataclass(kw_only=True, eq=False)
class ArrayDataLoader(ImageDataLoader):
    """A data set in memory with all its training images.

    Args:
        data_dir: folder of the data set's files.
        randaugm: the strong augmentation: crop, flip and AutoAugment's CIFAR-10 policy; "published": as the published
            code applied it, which left the policy out on CIFAR-10.
        trivialaugm: TrivialAugmentWide in AutoAugment's place.
        cutout: one square hole of half the image's side (16×16 on CIFAR).
        max_per_class: at most so many training images of a class.
        verify: compare checksums and download what is missing; false reads other data in the same format.
    """

    spec: ClassVar[ArrayDatasetSpec]

    data_dir: str
    randaugm: bool | Literal["published"] = False
    trivialaugm: bool = False
    cutout: bool = False
    max_per_class: PositiveInt | None = None
    verify: bool = True

    @cached_property
    def images(self) -> ImageSet:
        """The image set of this loader's split; on the device that asks for batches, where it fits there easily and
        no transform works image by image, which only the CPU does.
        """
        images = self.splits[self.split]
        on_cpu = any(self.pipelines[view].in_worker for view in self.views)
        return images if on_cpu or not isinstance(images, ArraySet) else images.near(self.device)

    def train_counts(self, targets: np.ndarray) -> np.ndarray:
        """Images to keep of each class [C], given the labels of the whole training split."""
        return np.bincount(targets) if self.max_per_class is None else self._capped(np.bincount(targets))

    def test_indices(self, targets: np.ndarray, train_counts: np.ndarray) -> np.ndarray:
        """Images to keep of the test split: all of them, as they stand."""
        return np.arange(len(targets))

    def load_splits(self) -> Splits[ImageSet]:
        """Read the data set and select the training images."""
        train = self.spec.read(self.data_dir, train=True, verify=self.verify)
        test = self.spec.read(self.data_dir, train=False, verify=self.verify)
        counts = self.train_counts(train.targets)
        train_set = ArraySet(train.images, train.targets).subset(select_per_class(train.targets, counts))
        test_set = ArraySet(test.images, test.targets)
        indices = self.test_indices(test.targets, counts)
        if not np.array_equal(indices, np.arange(len(test_set))):
            test_set = test_set.subset(indices)
        return Splits({"train": train_set, "validation": test_set, "test": test_set}, train.class_names)

    def augmentation(self, view: View) -> Sequence[BatchTransform]:
        """Crop, flip and rotation; or crop, flip, a policy and the hole, each of these two where it is asked for.

        Weak: crop and flip. Strong: crop, flip, a policy and the hole.
        """
        rotates = view == "train" and not (self.randaugm or self.trivialaugm or self.cutout)
        crop = CropFlipRotate(self.seed, self.spec.padding, self.spec.flip, self.spec.degrees if rotates else 0.0)
        chain: list[BatchTransform] = [crop]
        if view == "strong" or (view == "train" and self._trains_with_policy):
            chain.append(TrivialAugmentWide(self.seed) if self.trivialaugm else AutoAugment(self.seed))
        if view == "strong" or (view == "train" and self.cutout):
            chain.append(Cutout(self.seed, self.image_side // 2))
        return chain

    def normalisation(self) -> Normalise:
        """By the data set's mean and standard deviation."""
        return Normalise(self.spec.mean, self.spec.std)

    @property
    def _trains_with_policy(self) -> bool:
        if self.randaugm == "published" and not self.trivialaugm:
            return self.spec.published_policy
        return bool(self.randaugm) or self.trivialaugm

    @property
    def image_side(self) -> int:
        """Pixels along a side of the published images, which is what the network sees."""
        return self.spec.side

    def _capped(self, counts: np.ndarray) -> np.ndarray:
        return np.minimum(counts, self.max_per_class) if self.max_per_class is not None else counts


@dataclass(kw_only=True, eq=False)
class ImbalanceArrayDataLoader(ArrayDataLoader):
    """A data set in memory made long-tailed.

    Args:
        imb_type: "exp" or "step", see `data_loader.datasets.longtail.longtail_counts`.
        imb_factor: the inverse of the imbalance ratio.
    """

    imb_type: Literal["exp", "step"] = "exp"
    imb_factor: ImbalanceFactor = 0.01

    def train_counts(self, targets: np.ndarray) -> np.ndarray:
        """The long tail [C]; its first class has as many images as the smallest class of the whole split."""
        available = self._capped(np.bincount(targets))
        return longtail_counts(int(available.min()), len(available), imb_type=self.imb_type, imb_factor=self.imb_factor)


@dataclass(kw_only=True, eq=False)
class ShiftedTestArrayDataLoader(ImbalanceArrayDataLoader):
    """A long-tailed data set whose test split is long-tailed, too.

    Args:
        test_imb_factor: the inverse of the test split's imbalance ratio.
        reverse: the rarest training class is the most frequent in the test split.
    """

    test_imb_factor: ImbalanceFactor = 1.0
    reverse: bool = False

    def test_indices(self, targets: np.ndarray, train_counts: np.ndarray) -> np.ndarray:
        """The shifted test set's images."""
        return shifted_indices(targets, train_counts, factor=self.test_imb_factor, backward=self.reverse)
