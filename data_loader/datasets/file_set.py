"""Images that lie in files: decoded and brought to one size as they are read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from data_loader.datasets.decoding import UnreadableImageError, read_image
from data_loader.datasets.image_sets import ImageSet
from data_loader.transforms.crops import Frame
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
        frame: what brings an image to the network's size.
        stand_ins: what takes an unreadable image's place; without it such an image is an error.
    """

    root: str
    paths: np.ndarray
    targets: np.ndarray
    frame: Frame
    stand_ins: StandIns | None = None

    reads_files = True

    def path(self, index: int) -> str:
        """Where image `index` lies."""
        return os.path.join(self.root, os.fsdecode(self.paths[index]))

    def read(self, keys: np.ndarray) -> Tensor:
        """The images that keys [B, 3] name: uint8, shape [B, 3, S, S]."""
        return self.read_labelled(keys)[0]

    def read_labelled(self, keys: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """The images of keys [B, 3] and their labels [B], which are those of the images in fact read.

        Raises:
            UserError: an image can't be read and nothing may stand in for it.
        """
        indices, size = keys[:, 1].copy(), self.frame.size
        images = torch.empty((len(keys), 3, size, size), dtype=torch.uint8)
        for row, draws in enumerate(self.frame.draws(keys)):
            # the whole image isn't kept, so that the next one is decoded into its memory, which the cache holds
            indices[row], images[row] = self._read_framed(keys[row], draws)
        return images, self.targets[indices]

    def subset(self, indices: np.ndarray) -> FileSet:
        """The images at `indices`, in that order."""
        return replace(self, paths=self.paths[indices], targets=self.targets[indices], stand_ins=None)

    def for_training(self, frame: Frame, *, seed: int, on_bad_image: str) -> FileSet:
        """The same images cut by `frame`; unreadable ones are an "error", or one to "skip"."""
        stand_ins = StandIns(seed, torch.zeros(len(self), dtype=torch.bool)) if on_bad_image == "skip" else None
        return replace(self, frame=frame, stand_ins=stand_ins)

    def _read_framed(self, key: np.ndarray, draws: np.ndarray) -> tuple[int, Tensor]:
        """Index and pixels [3, S, S] of the image of `key`, or of its stand-in, framed as `draws` say."""
        index = int(key[1])
        try:
            image = read_image(self.path(index))
        except UnreadableImageError as error:
            index, image = self._stand_in(key, error)
        return index, self.frame(image, draws)

    def _stand_in(self, key: np.ndarray, error: UnreadableImageError) -> tuple[int, Tensor]:
        """Index and pixels of the image that takes the place of the one of `key`, which raised `error`."""
        if self.stand_ins is None:
            raise UserError(
                f"{error}; data_loader.args.data_dir is {self.root}; `python -m data_loader.check CONFIG` lists all "
                'unreadable images, data_loader.args.on_bad_image="skip" trains without them'
            ) from None
        self.stand_ins.report(int(key[1]), error)
        for index in self.stand_ins.candidates(key, self.targets):
            try:
                return index, read_image(self.path(index))
            except UnreadableImageError:
                continue
        raise UserError(f"{self.root}: not one of {len(self)} images can be read (data_loader.args.data_dir)")


@dataclass(frozen=True, eq=False)
class StandIns:
    """Which images take the place of unreadable ones, and which have been reported; shared with the workers.

    Args:
        seed: the run's seed.
        reported: bool, shape [N].
    """

    seed: int
    reported: Tensor

    def __post_init__(self) -> None:
        self.reported.share_memory_()

    def candidates(self, key: np.ndarray, targets: np.ndarray) -> Iterator[int]:
        """The other images in the order in which they are tried: those of the same class, then all others.

        Where in the class the search begins is a function of the key [3].
        """
        own = int(key[1])
        start = uniforms(self.seed, Stream.REPLACEMENT, key[None], 1)[0, 0]
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
            _log.warning("%s; another image stands in for it (%s so far)", error, files)
