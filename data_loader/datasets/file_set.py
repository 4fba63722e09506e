"""Images that lie in files: decoded and brought to one size as they are read."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from data_loader.cache.reading import ImageCache
from data_loader.datasets.contents import Contents, contents_of_files, file_digests
from data_loader.datasets.decoding import ImageReader, UnreadableImageError
from data_loader.datasets.image_sets import ImageSet
from data_loader.transforms.crops import Crop, RandomResizedCrop
from utils.errors import UserError
from utils.random_streams import Stream, uniforms

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FileSet(ImageSet):
    """Images of one split, named by their paths.

    Args:
        root: folder that the paths start from.
        paths: an array of bytes of shape [N] (plain strings would be copied into every worker).
        targets: int64, shape [N].
        crop: what brings an image to the network's size.
        reader: what decodes a file.
        unreadable_images: what is done with unreadable images; without it such an image is an error.
        cache: where the images are, decoded and shrunk; without it, and what it doesn't have, is read from the files.
        shrinkage: height, width and params → how many times smaller the crop by these params is made: files are
            decoded no larger than it needs, see `decoding.decode`; None: whole.
    """

    root: str
    paths: np.ndarray
    targets: np.ndarray
    crop: Crop
    reader: ImageReader = field(default_factory=ImageReader)
    unreadable_images: UnreadableImagePolicy | None = None
    cache: ImageCache | None = None
    shrinkage: Callable[..., float] | None = None

    reads_files = True

    def path(self, index: int) -> str:
        """Where image `index` lies."""
        return os.path.join(self.root, os.fsdecode(self.paths[index]))

    def files(self) -> Iterator[str]:
        """As for every set: links among the folders are followed; an image that is a link counts as one of its own."""
        real_folders: dict[str, str] = {}
        for index in range(len(self)):
            folder, name = os.path.split(self.path(index))
            if folder not in real_folders:
                real_folders[folder] = os.path.realpath(folder)
            yield os.path.join(real_folders[folder], name)

    def contents(self) -> Contents:
        """Of names, sizes and times of the files, and of a sample of them."""
        return contents_of_files(self.paths.tolist(), self.all_paths, lambda: self.digests)

    @cached_property
    def digests(self) -> list[str]:
        """The SHA-256 of each file in hexadecimal, length N; empty for one that can't be read. They are read once."""
        return file_digests(self.all_paths)

    @property
    def all_paths(self) -> list[str]:
        """Where the images lie, length N."""
        return [self.path(index) for index in range(len(self))]

    def read(self, sample_ids: np.ndarray) -> Tensor:
        """The images that sample_ids [B, 3] name: uint8, shape [B, 3, S, S]."""
        return self.read_labelled(sample_ids)[0]

    def read_labelled(self, sample_ids: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """The images of sample ids [B, 3] and their labels [B], which are those of the images in fact read.

        Raises:
            UserError: an image can't be read and may not be replaced.
        """
        indices, size = sample_ids[:, 1].copy(), self.crop.size
        shape = (len(sample_ids), 3, size, size)
        images = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)  # as crops are: fast to copy
        for row, params in enumerate(self.crop.make_params(sample_ids)):
            # the whole image isn't kept, so that the next one is decoded into its memory, which the cache holds
            indices[row], images[row] = self._read_cropped(sample_ids[row], params)
        return images, self.targets[indices]

    def subset(self, indices: np.ndarray) -> FileSet:
        """The images at `indices`, in that order."""
        paths, targets = self.paths[indices], self.targets[indices]
        return replace(self, paths=paths, targets=targets, unreadable_images=None, cache=None, shrinkage=None)

    def for_training(
        self,
        crop: RandomResizedCrop,
        *,
        seed: int,
        on_bad_image: str,
        cache: ImageCache | None = None,
        reduced_decoding: bool = False,
    ) -> FileSet:
        """The same images cut by `crop`; unreadable ones are an "error", or to "skip": others replace them."""
        policy, shrinkage = self._policy(on_bad_image, seed), crop.shrinkage if reduced_decoding else None
        return replace(self, crop=crop, unreadable_images=policy, cache=cache, shrinkage=shrinkage)

    def for_evaluation(self, *, on_bad_image: str) -> FileSet:
        """The same images; unreadable ones are an "error", or to "skip": they are black, and listed as `unreadable`."""
        return replace(self, unreadable_images=self._policy(on_bad_image, None))

    @property
    def unreadable(self) -> np.ndarray:
        """Which images were found to be unreadable, and skipped, so far: indices, int64."""
        policy = self.unreadable_images
        return np.empty(0, np.int64) if policy is None else np.flatnonzero(policy.reported.numpy())

    def _policy(self, on_bad_image: str, seed: int | None) -> UnreadableImagePolicy | None:
        none_so_far = torch.zeros(len(self), dtype=torch.bool)
        return UnreadableImagePolicy(seed, none_so_far) if on_bad_image == "skip" else None

    def _read_uncropped(self, index: int, params: np.ndarray) -> Tensor:
        """The image `index`, [3, h, w], for a crop by these params: from the cache where it is there, else its file."""
        cached = self.cache.read(index) if self.cache is not None else None
        if cached is not None:
            return cached
        shrinkage = None if self.shrinkage is None else partial(self.shrinkage, params=params)
        return self.reader(self.path(index), shrinkage=shrinkage)

    def _read_cropped(self, sample_id: np.ndarray, params: np.ndarray) -> tuple[int, Tensor]:
        """Index and pixels [3, S, S] of the image of a sample id [3], or of its replacement, cropped by its params."""
        index = int(sample_id[1])
        try:
            image = self._read_uncropped(index, params)
        except UnreadableImageError as error:
            index, image = self._replacement(sample_id, params, error)
        return index, self.crop(image, params)

    def _replacement(
        self, sample_id: np.ndarray, params: np.ndarray, error: UnreadableImageError
    ) -> tuple[int, Tensor]:
        """Index and pixels of the image that replaces the one of a sample id [3], which raised `error`."""
        if self.unreadable_images is None:
            raise UserError(
                f"{error}; data_loader.args.data_dir is {self.root}; `python -m data_loader.check CONFIG` lists all "
                'unreadable images, data_loader.args.on_bad_image="skip" trains without them'
            ) from None
        self.unreadable_images.report(int(sample_id[1]), error)
        if not self.unreadable_images.replaces:
            return int(sample_id[1]), torch.zeros((3, self.crop.size, self.crop.size), dtype=torch.uint8)
        for index in self.unreadable_images.candidates(sample_id, self.targets):
            try:
                return index, self._read_uncropped(index, params)
            except UnreadableImageError:
                continue
        raise UserError(f"{self.root}: not one of {len(self)} images can be read (data_loader.args.data_dir)")


@dataclass(frozen=True, eq=False)
class UnreadableImagePolicy:
    """Which images replace unreadable ones, if any, and which of those have been reported; shared with the workers.

    Args:
        seed: the run's seed; None: nothing replaces them.
        reported: bool, shape [N].
    """

    seed: int | None
    reported: Tensor

    @property
    def replaces(self) -> bool:
        """Whether another image takes an unreadable one's place."""
        return self.seed is not None

    def __post_init__(self) -> None:
        self.reported.share_memory_()

    def candidates(self, sample_id: np.ndarray, targets: np.ndarray) -> Iterator[int]:
        """The other images in the order in which they are tried: those of the same class, then all others.

        Where in the class the search begins is a function of the sample id [3].
        """
        assert self.seed is not None, "nothing is replaced"
        own = int(sample_id[1])
        start = uniforms(self.seed, Stream.REPLACEMENT, sample_id[None], 1)[0, 0]
        same_class = targets == targets[own]
        for group in (same_class, ~same_class):
            indices = np.flatnonzero(group)
            indices = np.roll(indices, -int(start * len(indices)))
            yield from (int(index) for index in indices if index != own)

    def report(self, index: int, error: UnreadableImageError) -> None:
        """Log an unreadable image, once a run whichever worker meets it."""
        if not self.reported[index]:
            self.reported[index] = True
            count = int(self.reported.sum())
            files = f"{count} such file{'s' * (count != 1)}"
            fate = "another image replaces it" if self.replaces else "it is left out of the scores"
            _log.warning("%s; %s (%s so far)", error, fate, files)
