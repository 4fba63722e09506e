"""The real images that an exported file is checked on: some that are named, or the run's test images.

`N` images, `S` side of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from data_loader.loader import ImageDataLoader
from data_loader.run_data import RunData
from trainer.config.run_config import run_config
from trainer.inference.image_files import image_files
from trainer.inference.trained_network import TrainedNetwork
from trainer.loaders import build_loader
from utils.config.parser import ConfigParser
from utils.errors import UserError
from utils.files.checkpoint import read_checkpoint


class CheckImages(NamedTuple):
    """What a file is checked on.

    Attributes:
        pixels: uint8 [N, S, S, 3].
        in_words: what they are: "test images".
    """

    pixels: np.ndarray
    in_words: str


def check_images(
    network: TrainedNetwork, parser: ConfigParser, given: Sequence[str] | None, *, count: int
) -> CheckImages:
    """At most `count` images, as they are read for the network, spread over all of them.

    Args:
        network: whose input they are to be.
        parser: the run's configuration, for its test images.
        given: names of files, see `trainer.inference.image_files`; None: the run's test images.
        count: how many.

    Raises:
        UserError: there are none, or one can't be read.
    """
    if given is not None:
        files = image_files(given)
        files = [files[place] for place in _spread(len(files), count)]
        return CheckImages(network.images(files).pixels(), "given images")
    try:
        loader = _test_loader(network, parser)
        if not len(loader.targets):
            raise UserError("there are no test images")
        sample_ids = loader.epoch_sample_ids(0)[_spread(len(loader.targets), count)]
        images = torch.as_tensor(loader.images.read(sample_ids))
    except UserError as error:
        raise UserError(f"no images to check the file with: name some with --check-on IMAGES ({error})") from None
    return CheckImages(np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy()), "test images")  # [N, S, S, 3]


def _test_loader(network: TrainedNetwork, parser: ConfigParser) -> ImageDataLoader:
    content = read_checkpoint(network.checkpoint).content
    known = RunData.of(content, network.checkpoint.parent, parser.config["data_loader"], evaluates=True)
    return build_loader(run_config(parser, trained=True), known=known).of_split("test")


def _spread(size: int, count: int) -> list[int]:
    """`count` places in 0 … size − 1, evenly, or all of fewer."""
    return np.unique(np.linspace(0, size - 1, count).round().astype(int)).tolist()
