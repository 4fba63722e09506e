"""`ImageDataLoader`: splits, sampling, transforms and workers, whatever the images are; one class serves all."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from base import VIEWS, BaseDataLoader, Batch, View
from base.base_data_loader import CPU
from data_loader.datasets.contents import Contents
from data_loader.datasets.image_sets import ArraySet, BatchDataset, ImageSet, ReadBatch
from data_loader.datasets.longtail import stratified_split
from data_loader.datasets.splits import EVALUATED_SPLITS, Splits
from data_loader.run_data import RunData
from data_loader.sampling import (
    BatchPlanner,
    balanced_epoch_length,
    balanced_sample_ids,
    sequential_sample_ids,
    shuffled_sample_ids,
)
from data_loader.shared_memory import has_shared_memory, tell_full
from data_loader.transforms.batch_transforms import BatchTransform, Normalise
from data_loader.transforms.pipeline import Pipeline
from data_loader.worker_processes import batches_of, loader_processes
from utils.config.ranges import NonNegativeFloat, Range
from utils.errors import UserError
from utils.signals import leave_all_to_the_parent

_LARGEST_BATCH = 10_000_000
_MOST_WORKERS = 10_000

_PREFETCHED = 2  # batches that each worker reads in advance


class ListedImages(NamedTuple):
    """The images that a list file names.

    Attributes:
        indices: into the test split, int64, shape [M].
        published: whether the file is a published one, by its content.
    """

    indices: np.ndarray
    published: bool


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

    shifts_are_listed: ClassVar[bool] = False
    """Whether shifted test sets are a matter of list files; else the rule by which they are selected defines them."""

    images_named_by: ClassVar[str] = "data_dir"
    """The argument that says which images the training split has, for messages."""

    batch_size: Annotated[int, Range(low=1, high=_LARGEST_BATCH)]
    shuffle: bool = True
    num_workers: Annotated[int, Range(low=0, high=_MOST_WORKERS)] = 1
    training: bool = True
    balanced: bool = False
    retain_epoch_size: bool = True
    validation_split: Annotated[float, Range(low=0, high=0.9)] = 0.0
    worker_timeout: NonNegativeFloat = 600.0
    seed: int = 1

    @abstractmethod
    def load_splits(self) -> Splits[ImageSet]:
        """Read the data set (labels at least): the long-tailed training split and the others as they are."""

    @abstractmethod
    def augmentation(self, view: View) -> Sequence[BatchTransform]:
        """The random transforms of a view, in order: "train" (as the arguments say), "weak" or "strong"."""

    @abstractmethod
    def normalisation(self) -> Normalise:
        """The last transform of every split."""

    @property
    @abstractmethod
    def image_side(self) -> int:
        """Pixels along a side of what the network sees."""

    def files_of(self, indices: np.ndarray) -> list[str]:
        """What the images at `indices` of this loader's split are called."""
        return [str(index) for index in indices]

    def take_up(self, known: RunData) -> None:
        """Before anything is read: what the run that is continued or evaluated knows of its images.

        Most data sets are what they are, and pass it over.
        """

    def freeze(self, folder: Path) -> None:
        """Keep in a run's folder what `take_up` will need of it, unless it is there."""

    @property
    def split_digests(self) -> dict[str, str]:
        """By which to recognise, in a checkpoint, which images are in which part; empty: they are always the same."""
        return {}

    def __post_init__(self) -> None:
        self.split = "train" if self.training else "test"
        self.views: tuple[View, ...] = ("train",)
        self.device = CPU

    @cached_property
    def splits(self) -> Splits[ImageSet]:
        """The image sets, read at the first use; a validation part is taken from the training split here."""
        splits = self.load_splits()
        if not self.validation_split:
            return splits
        train = splits["train"]
        train_indices, held_out = stratified_split(train.targets, self.validation_split, len(splits.class_names))
        return splits.replaced(train=train.subset(train_indices), validation=train.subset(held_out))

    @cached_property
    def images(self) -> ImageSet:
        """The image set of this loader's split."""
        return self.splits[self.split]

    @property
    def is_public(self) -> bool:
        """Whether everybody has the same images, of which a few may be in two splits; else they are somebody's own."""
        return True

    @cached_property
    def contents(self) -> Contents:
        """What the images of this loader's split hold, as it was when this was first asked for."""
        return self.splits[self.split].contents()

    @property
    def is_evaluated(self) -> bool:
        """Whether this loader's split is one to evaluate on: in file order and, but for views, not augmented."""
        return self.split in EVALUATED_SPLITS

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
        return np.bincount(self.splits["train"].targets, minlength=len(self.class_names)).tolist()

    @property
    def num_images(self) -> int:
        """Images an epoch."""
        if self._is_balanced:
            return balanced_epoch_length(np.array(self.cls_num_list), retain_epoch_size=self.retain_epoch_size)
        return len(self.images)

    @cached_property
    def pipelines(self) -> dict[View, Pipeline]:
        """The transforms of each view of this loader's split."""
        plain: tuple[View, ...] = ("train", "test") if self.is_evaluated else ("test",)
        chains = {view: () if view in plain else self.augmentation(view) for view in VIEWS}
        return {view: Pipeline.of(view, (*chain, self.normalisation())) for view, chain in chains.items()}

    def transform(self, images: Tensor, sample_ids: np.ndarray, view: View = "train") -> Tensor:
        """Raw images [B, 3, H, W] on the device → the network's input; see `BaseDataLoader.transform`."""
        pipeline, begun = self.pipelines[view], self._worker_pipeline
        if begun is None:
            images = pipeline.begin(images, sample_ids)
        elif begun is not pipeline:
            raise RuntimeError(
                f"the workers have prepared these images for the view {begun.view!r}, not for {view!r}: "
                f"call prepare_views(({begun.view!r}, {view!r})) before the first epoch"
            )
        return pipeline.finish(images, sample_ids)

    def prepare_views(self, views: tuple[View, ...], device: torch.device = CPU) -> None:
        """Say which views will be asked for; see `BaseDataLoader.prepare_views`."""
        if views != self.views and "_torch_loader" in self.__dict__:
            raise RuntimeError(f"prepare_views({views}): an epoch has begun with {self.views}")
        self.views, self.device = views, device
        self.__dict__.pop("images", None)  # how files are read may depend on the views, and where images lie

    def epoch_sample_ids(self, epoch: int) -> np.ndarray:
        """Which sample comes when: int64, shape [num_images, 3]: epoch, sample index, repeat."""
        split = self.splits.number(self.split)
        if self._is_balanced:
            return balanced_sample_ids(self.seed, epoch, self.targets, self.num_images)
        if self.is_evaluated or not self.shuffle:
            return sequential_sample_ids(epoch, len(self.images), split=split)
        return shuffled_sample_ids(self.seed, epoch, len(self.images), split=split)

    def epoch(
        self, epoch: int, *, first_step: int = 0, every: int = 1, rank: int = 0, size: int = 1
    ) -> Iterator[Batch]:
        """The batches of an epoch in their order, or a process's part of them; see `BaseDataLoader.epoch`."""
        self._planner.start(self.epoch_sample_ids(epoch), first_step=first_step, every=every, rank=rank, size=size)
        return self._batches(batches_of(self._torch_loader))

    @property
    def validates_on_test_split(self) -> bool:
        """Whether the validation images are the test images, so that a choice by them is no honest one."""
        return self.splits["validation"] is self.splits["test"]

    def of_split(self, name: str) -> Self:
        """A loader of another split that shares what has been read; see `BaseDataLoader.of_split`."""
        _ = self.splits[name]
        other = copy.copy(self)
        other.split, other.views = name, ("train",)
        for cached in ("images", "contents", "pipelines", "_planner", "_torch_loader"):
            other.__dict__.pop(cached, None)
        return other

    def without_images(self, class_names: list[str], class_counts: Sequence[int]) -> Self:
        """A loader that knows how many training images of each class there are, and has none of them.

        For a trained network where its images are not: what depends on class counts can be asked, nothing can be read.
        """
        other = copy.copy(self)
        none = ArraySet(torch.empty(0), np.repeat(np.arange(len(class_counts)), class_counts))
        other.splits = Splits(dict.fromkeys(("train", "validation", "test"), none), class_names)
        other.images = none
        return other

    def listed_shift(self, direction: str, ratio: int) -> ListedImages | None:
        """The images of the test split that a list file names for a shifted test set; None: there is no list.

        Args:
            direction: "forward" or "backward".
            ratio: the test set's imbalance ratio.
        """
        return None

    @property
    def _is_balanced(self) -> bool:
        return self.balanced and self.split == "train"

    @property
    def _worker_pipeline(self) -> Pipeline | None:
        """The pipeline whose first part the workers do; None where they deliver raw images."""
        only = self.pipelines[self.views[0]] if len(self.views) == 1 else None
        return only if only is not None and only.in_worker else None

    @cached_property
    def _planner(self) -> BatchPlanner:
        return BatchPlanner(self.batch_size)

    @cached_property
    def _torch_loader(self) -> DataLoader[Any]:
        pipeline = self._worker_pipeline
        workers = self.num_workers if self.images.reads_files or pipeline is not None else 0
        batch_bytes = self.batch_size * 3 * self.image_side**2
        shares_memory = workers > 0 and has_shared_memory(workers, _PREFETCHED, batch_bytes)
        return DataLoader(
            BatchDataset(self.images, pipeline, shares_memory=shares_memory),
            batch_sampler=cast(Any, self._planner),  # plans, where torch expects lists of indices
            collate_fn=_as_it_is,
            num_workers=workers,
            prefetch_factor=_PREFETCHED if workers else None,
            persistent_workers=workers > 0,
            pin_memory=workers > 0 and self.device.type == "cuda",  # by a thread
            timeout=self.worker_timeout if workers else 0,
            multiprocessing_context=loader_processes() if workers else None,
            worker_init_fn=leave_all_to_the_parent,
            generator=torch.Generator(),  # else torch draws the workers' seeds from the global one
        )

    def _batches(self, batches: Iterator[ReadBatch | UserError]) -> Iterator[Batch]:
        """Attach the transform, which does not travel through workers, and raise the user's mistakes, which do."""
        dataset = cast(BatchDataset, self._torch_loader.dataset)
        for batch in batches:
            if isinstance(batch, UserError):
                try:
                    raise batch
                finally:
                    del batch  # its traceback would hold it, and so the loader and its processes, in a cycle
            if dataset.shares_memory and isinstance(batch.images, np.ndarray):
                tell_full()
                dataset.shares_memory = False  # in this process only: it is told once
            images, targets = torch.as_tensor(batch.images), torch.from_numpy(batch.targets)
            yield Batch(images, targets, batch.sample_ids, batch.shard, self.transform)


def _as_it_is(batch: Any) -> Any:
    return batch
