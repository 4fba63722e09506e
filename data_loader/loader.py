"""`ImageDataLoader`: splits, sampling, transforms and workers, whatever the images are; one class serves all."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from base import BaseDataLoader, Batch
from data_loader.datasets.image_sets import BatchDataset, ImageSet
from data_loader.datasets.longtail import stratified_split
from data_loader.sampling import (
    SampleIdBatches,
    balanced_epoch_length,
    balanced_sample_ids,
    sequential_sample_ids,
    shuffled_sample_ids,
)
from data_loader.transforms.batch_transforms import BatchTransform, Normalise
from data_loader.transforms.pipeline import Pipeline, apply_all
from utils.config.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt, Range
from utils.errors import UserError
from utils.signals import leave_signals_to_the_parent

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Splits:
    """The image sets of a data set; where no validation set is of its own, `validation` is the test split."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    class_names: list[str]


@dataclass(kw_only=True, eq=False)
class ImageDataLoader(BaseDataLoader):
    """What all configurable loaders have in common; the fields are the keys of `data_loader.args`.

    Nothing is read before it is needed.

    Args:
        batch_size: images a step.
        shuffle: a new order each epoch, for the training split.
        num_workers: processes that read and transform images; used where reading or a per-image transform is worth
            a process. What comes out does not depend on it.
        training: this loader yields the training split, else the test split.
        balanced: class-balanced sampling: every class equally often.
        retain_epoch_size: a balanced epoch has as many images as a plain one, else as many as show every image of
            the largest class once.
        validation_split: fraction of the training images of each class held out for validation; 0: the data set's
            own validation split, or its test split where it has none.
        worker_timeout: seconds to wait for a batch before a worker counts as hung; 0: for ever.
        seed: the run's seed (supplied by the program).
    """

    batch_size: PositiveInt
    shuffle: bool = True
    num_workers: NonNegativeInt = 1
    training: bool = True
    balanced: bool = False
    retain_epoch_size: bool = True
    validation_split: Annotated[float, Range(low=0, high=0.9)] = 0.0
    worker_timeout: NonNegativeFloat = 600.0
    seed: int = 1

    @abstractmethod
    def load_splits(self) -> Splits:
        """Read the data set (labels at least): the long-tailed training split and the others as they are."""

    @abstractmethod
    def augmentation(self) -> Sequence[BatchTransform]:
        """The random transforms of the training split, in order."""

    @abstractmethod
    def normalisation(self) -> Normalise:
        """The last transform of every split."""

    def __post_init__(self) -> None:
        self.split: SplitName = "train" if self.training else "test"

    @cached_property
    def splits(self) -> Splits:
        """The image sets, read at the first use; a validation part is taken from the training split here."""
        splits = self.load_splits()
        if not self.validation_split:
            return splits
        train = splits.train
        kept, held = stratified_split(train.targets, self.validation_split, len(splits.class_names))
        return Splits(train.subset(kept), train.subset(held), splits.test, splits.class_names)

    @cached_property
    def images(self) -> ImageSet:
        """The image set of this loader's split."""
        return getattr(self.splits, self.split)

    @property
    def targets(self) -> np.ndarray:
        """The labels of this loader's split, int64, shape [N]."""
        return self.images.targets

    @property
    def class_names(self) -> list[str]:
        """A name for each class, length C."""
        return self.splits.class_names

    @cached_property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_names)

    @cached_property
    def cls_num_list(self) -> list[int]:
        """Training images of each class, length C, whichever split this loader reads."""
        return np.bincount(self.splits.train.targets, minlength=len(self.class_names)).tolist()

    @property
    def num_images(self) -> int:
        """Images an epoch."""
        if self.split == "train" and self.balanced:
            return balanced_epoch_length(np.array(self.cls_num_list), retain_epoch_size=self.retain_epoch_size)
        return len(self.images)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The transforms of this loader's split."""
        augmentation = self.augmentation() if self.split == "train" else ()
        return Pipeline.of((*augmentation, self.normalisation()))

    def transform(self, images: Tensor, sample_ids: np.ndarray) -> Tensor:
        """Raw images [B, 3, H, W] on the device → the network's input, float32 [B, 3, H, W]."""
        return apply_all(self.pipeline.on_device, images, sample_ids)

    def epoch_sample_ids(self, epoch: int) -> np.ndarray:
        """Which sample comes when: int64, shape [num_images, 3]: epoch, sample index, repeat."""
        if self.split != "train" or not (self.shuffle or self.balanced):
            return sequential_sample_ids(epoch, len(self.images))
        if self.balanced:
            return balanced_sample_ids(self.seed, epoch, self.targets, self.num_images)
        return shuffled_sample_ids(self.seed, epoch, len(self.images))

    def epoch(
        self, epoch: int, *, first_step: int = 0, every: int = 1, rank: int = 0, size: int = 1
    ) -> Iterator[Batch]:
        """The batches of an epoch in their order, or a process's part of them; see `BaseDataLoader.epoch`."""
        self._sample_id_batches.start(
            self.epoch_sample_ids(epoch), first_step=first_step, every=every, rank=rank, size=size
        )
        return _checked(iter(self._torch_loader))

    @property
    def validates_on_test_split(self) -> bool:
        """Whether the validation images are the test images, so that a choice by them is no honest one."""
        return self.splits.validation is self.splits.test

    def split_validation(self) -> ImageDataLoader:
        """The loader of the validation split."""
        return self._of_split("validation")

    def split_test(self) -> ImageDataLoader:
        """The loader of the test split."""
        return self._of_split("test")

    def published_shift(self, direction: str, ratio: int) -> np.ndarray | None:
        """The images of the test split that a published list names for a shifted test set; None: there is no list.

        Args:
            direction: "forward" or "backward".
            ratio: the test set's imbalance ratio.

        Returns:
            int64 indices into the test split.
        """
        return None

    def _of_split(self, split: SplitName) -> ImageDataLoader:
        """A loader of another split that shares what has been read."""
        _ = self.splits
        other = copy.copy(self)
        other.split = split
        for name in ("images", "pipeline", "_sample_id_batches", "_torch_loader"):
            other.__dict__.pop(name, None)
        return other

    @cached_property
    def _sample_id_batches(self) -> SampleIdBatches:
        return SampleIdBatches(self.batch_size)

    @cached_property
    def _torch_loader(self) -> DataLoader[Any]:
        workers = self.num_workers if self.images.reads_files or self.pipeline.in_worker else 0
        return DataLoader(
            BatchDataset(self.images, self.pipeline.in_worker),
            batch_sampler=cast(Any, self._sample_id_batches),  # arrays of keys, where torch expects lists of indices
            collate_fn=_as_it_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            timeout=self.worker_timeout if workers else 0,
            worker_init_fn=leave_signals_to_the_parent,
            generator=torch.Generator(),  # else torch draws the workers' seeds from the global one
        )


def _as_it_is(batch: Any) -> Any:
    return batch


def _checked(batches: Iterator[Batch | UserError]) -> Iterator[Batch]:
    """Raise the user's mistakes that workers hand over (see `BatchDataset`)."""
    for batch in batches:
        if isinstance(batch, UserError):
            raise batch
        yield batch
