"""What the loaders of image files have in common: the transforms of ImageNet-LT and its relatives."""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np

from base import View
from data_loader.cache.layout import CacheKind, Format
from data_loader.cache.reading import ImageCache, open_cache
from data_loader.datasets.decoding import ImageReader
from data_loader.datasets.file_set import FileSet
from data_loader.datasets.image_sets import ImageSet
from data_loader.datasets.longtail import select_per_class
from data_loader.datasets.pixel_values import ValueRange
from data_loader.datasets.splits import EVALUATED_SPLITS, Splits
from data_loader.kept_split import KeptSplit, keep_split
from data_loader.lists.list_files import ImageList
from data_loader.loader import ImageDataLoader
from data_loader.run_data import RunData, digests_of
from data_loader.transforms.batch_transforms import BatchTransform, HorizontalFlip, Normalise
from data_loader.transforms.colour import ColourJitter
from data_loader.transforms.crops import CentreCrop, RandomResizedCrop
from data_loader.transforms.rand_augment import RandAugment
from utils.config.ranges import PositiveInt, Range
from utils.errors import UserError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_JITTER = 0.4
_RESIZED = 256 / 224  # a test image's shorter side before the central crop, relative to the crop


class Inventory(NamedTuple):
    """The files of a data set.

    Attributes:
        by_split: the paths of each split; a split that has the same files as one before is left out.
        bad_lines: what is wrong with the lists, one line each.
    """

    by_split: dict[str, list[str]]
    bad_lines: list[str]

    @classmethod
    def of(cls, data_dir: str, files: Mapping[str, ImageList], bad_lines: Sequence[str] = ()) -> Inventory:
        """The files of some splits, by paths from `data_dir`."""
        by_split: dict[str, list[str]] = {}
        for split, images in files.items():
            paths = [os.path.join(data_dir, os.fsdecode(path)) for path in dict.fromkeys(images.paths.tolist())]
            if paths not in by_split.values():
                by_split[split] = paths
        return cls(by_split, list(bad_lines))


@dataclass(kw_only=True, eq=False)
class FileDataLoader(ImageDataLoader):
    """Images in files: random resized crop, flip and colour jitter in training; resize and central crop otherwise.

    Args:
        data_dir: folder that the images' paths start from.
        image_size: side of the network's input; test images' shorter side is resized to 256/224 of it.
        color_jitter: whether the plain augmentation jitters brightness, contrast and saturation by ±0.4.
        randaugm: the strong augmentation: colour jitter in any case, and RandAugment.
        max_per_class: at most so many training images of a class.
        on_bad_image: what an unreadable image is: an "error", or one to "skip". In training another of its class then
            replaces it; elsewhere it is left out of the scores, which say how many they are without.
        value_range: lowest and highest value of images of more than 8 bits, which become 0 and 255; null: the
            range of their type. Images of 8 bits are read as they are.
        apply_exif: turn images as their EXIF orientation says.
        reduced_decoding: decode a JPEG to train on at a half, quarter or eighth of its size where its crop still has
            twice the pixels, each way, that the network gets: photographs of many megapixels are read faster.
        cache: folder of a cache, which `python -m data_loader.cache CONFIG` builds: images to train on are cropped out
            of what it has; null: out of the files. Images to evaluate on are read from the files in any case.
        cache_side: pixels of the shorter side in the cache, at least image_size; what is smaller stays as it is.
        cache_format: "jpeg" of quality 95, or "raw" pixels, which take about seven times the space.
        mean: of each channel, on the scale 0 … 1.
        std: likewise.
    """

    shifts_are_listed: ClassVar[bool] = True
    keeps_split: ClassVar[bool] = False
    """Whether a run keeps its split with the images' digests; not that of published lists, which everybody has."""

    data_dir: str
    image_size: Annotated[int, Range(low=8)] = 224
    color_jitter: bool = True
    randaugm: bool = False
    max_per_class: PositiveInt | None = None
    on_bad_image: Literal["error", "skip"] = "error"
    value_range: ValueRange | None = None
    apply_exif: bool = False
    reduced_decoding: bool = False
    cache: str | None = None
    cache_side: PositiveInt = 256
    cache_format: Format = "jpeg"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def image_side(self) -> int:
        """`image_size`."""
        return self.image_size

    def __post_init__(self) -> None:
        super().__post_init__()
        self.known: RunData | None = None
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or (name == "std" and min(values) <= 0):
                raise ValueError(f"args.{name}: expected three {'positive ' * (name == 'std')}numbers; got {values}")
        if self.cache is not None and self.cache_side < self.image_size:
            told = f"expected at least image_size, which is {self.image_size}; got {self.cache_side}"
            raise ValueError(f"args.cache_side: {told}")
        limits = self.value_range
        if limits is not None and (
            len(limits) != 2 or not math.isfinite(limits[1] - limits[0]) or limits[0] >= limits[1]
        ):
            raise ValueError(f"args.value_range: expected [LOW, HIGH] with LOW less than HIGH; got {list(limits)}")

    @cached_property
    def reader(self) -> ImageReader:
        """What decodes the files of every split."""
        return ImageReader(self.value_range, self.apply_exif)

    @property
    def is_public(self) -> bool:
        """Own images, unless published lists name them."""
        return False

    @property
    def unreadable(self) -> np.ndarray:
        """Of this loader's split, as far as it was read."""
        assert isinstance(self.images, FileSet)
        return self.images.unreadable

    def files_of(self, indices: np.ndarray) -> list[str]:
        """The paths of images of this loader's split, as its files or lists have them."""
        assert isinstance(self.images, FileSet)
        return [os.fsdecode(path) for path in self.images.paths[indices]]

    def take_up(self, known: RunData) -> None:
        """What the run that is continued or evaluated knows of its images."""
        self.known = known

    def freeze(self, folder: Path) -> None:
        """As list files with the images' digests, of own images: see `data_loader.kept_split`."""
        is_there = self.known is not None and KeptSplit.is_kept(folder)
        if self.keeps_split and not self.is_public and not is_there:
            keep_split(folder, self.find_files(), Path(self.data_dir))

    @property
    def split_digests(self) -> dict[str, str]:
        """Of the files' names and labels."""
        return digests_of(self.find_files())

    @cached_property
    def cls_num_list(self) -> list[int]:
        """Training images of each class; in an evaluation those that the run counted, whatever is here now."""
        known = self.known
        if known is not None and known.evaluates and known.class_counts is not None:
            return known.class_counts
        counts = np.bincount(self.splits["train"].targets, minlength=len(self.class_names)).tolist()
        if not sum(counts):
            raise UserError(
                f"{self.data_dir}: holds no training images, and the checkpoint doesn't say how many it had"
            )
        return counts

    @abstractmethod
    def find_files(self) -> Splits[ImageList]:
        """Which images each split has; none of them is opened."""

    @abstractmethod
    def inventory(self) -> Inventory:
        """Every image file that a split names, and what is wrong with the lists; no image is opened."""

    def load_splits(self) -> Splits[ImageSet]:
        """Find the files and cap the training classes."""
        files = self.find_files()
        if self.max_per_class is not None:
            train, counts = files["train"], np.full(len(files.class_names), self.max_per_class)
            files = files.replaced(train=train.subset(select_per_class(train.targets, counts)))
        return files.map(self._file_set)

    @cached_property
    def images(self) -> ImageSet:
        """The image set of this loader's split; images to train on are cropped at random, unless for "test" alone."""
        images = self.splits[self.split]
        assert isinstance(images, FileSet)
        if self.is_evaluated:
            return images.for_evaluation(on_bad_image=self.on_bad_image)
        if self.views == ("test",):
            return images
        crop = RandomResizedCrop(self.seed, self.image_size)
        cache = None if self.cache is None else self._open_cache(self.cache, images)
        return images.for_training(
            crop,
            seed=self.seed,
            on_bad_image=self.on_bad_image,
            cache=cache,
            reduced_decoding=self.reduced_decoding,
        )

    @property
    def cache_kind(self) -> CacheKind:
        """What is done to the images of a cache."""
        reading = self.value_range, self.apply_exif, self.reduced_decoding
        return CacheKind(self.cache_side, self.cache_format, *reading)

    def cached_names(self) -> np.ndarray:
        """The names of all images to train on, as their files or lists have them: sorted, each once; bytes, [M]."""
        trained = (images for split, images in self.find_files().by_name.items() if split not in EVALUATED_SPLITS)
        return np.unique(np.concatenate([images.paths for images in trained]))

    def _open_cache(self, folder: str, images: FileSet) -> ImageCache:
        names = self.cached_names()
        return open_cache(Path(folder), self.cache_kind, names, wanted=images.paths, paths=images.all_paths)

    def augmentation(self, view: View) -> Sequence[BatchTransform]:
        """What follows the crop: a flip, the jitter and RandAugment as the arguments say; strong: flip, RandAugment."""
        chain: list[BatchTransform] = [HorizontalFlip(self.seed)]
        if view == "train" and (self.color_jitter or self.randaugm):
            chain.append(ColourJitter(self.seed, _JITTER))
        if view == "strong" or (view == "train" and self.randaugm):
            chain.append(RandAugment(self.seed))
        return chain

    def normalisation(self) -> Normalise:
        """By the data set's mean and standard deviation."""
        return Normalise(self.mean, self.std)

    @property
    def test_crop(self) -> CentreCrop:
        """What brings a test image to the network's size."""
        return CentreCrop(self.image_size, round(self.image_size * _RESIZED))

    def _file_set(self, files: ImageList) -> ImageSet:
        return FileSet(self.data_dir, files.paths, files.targets, self.test_crop, self.reader)
