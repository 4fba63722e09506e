"""A checkpoint's network with what it takes to use it: how pixels reach it, its classes, where it is at home.

`N` images, `E` experts, `C` classes, `S` side of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data_loader.loader import ImageDataLoader
from data_loader.run_data import RunData
from model.experts import ExpertModel
from model.priors import mean_home
from trainer.build import bare_network
from trainer.config.run_config import run_config
from trainer.evaluation.home import home_in_words, home_priors
from trainer.inference.pixels import ResizeRule
from trainer.loaders import build_loader
from trainer.weights import load_weights
from utils.config.parser import ConfigParser
from utils.errors import UserError
from utils.files.checkpoint import read_checkpoint


@dataclass(frozen=True)
class OpenedNetwork:
    """A trained network, in float32 on the CPU.

    Args:
        run: name of the configuration.
        checkpoint: the network's file.
        digest: SHA-256 of the file.
        epoch: after which it was written; None where it doesn't say.
        network: the raw weights.
        loader: of the test split.
        home: [C], the class prior under which the mean of the experts' logits is right; None: unknown.
    """

    run: str
    checkpoint: Path
    digest: str
    epoch: int | None
    network: ExpertModel
    loader: ImageDataLoader
    home: np.ndarray | None

    @property
    def home_in_words(self) -> str:
        """See `trainer.evaluation.home.home_in_words`."""
        return home_in_words(self.home, self.loader.cls_num_list)

    @property
    def resize_rule(self) -> ResizeRule:
        """Of the loader's test images; those in memory have the network's size."""
        side, crop = self.loader.image_side, getattr(self.loader.images, "crop", None)
        return ResizeRule(side, side if crop is None else crop.resized)

    def test_pixels(self, count: int) -> np.ndarray:
        """`count` images spread over the test split, or all of fewer, as the loader reads them: uint8 [N, S, S, 3].

        Raises:
            UserError: there are none, or one can't be read.
        """
        if not len(self.loader.targets):
            raise UserError("there are no test images to check the file with")
        sample_ids = self.loader.epoch_sample_ids(0)
        chosen = np.unique(np.linspace(0, len(sample_ids) - 1, count).round().astype(int))
        images = torch.as_tensor(self.loader.images.read(sample_ids[chosen]))
        return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())  # [N, 3, S, S] → [N, S, S, 3]

    @torch.inference_mode()
    def expert_logits(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [N, S, S, 3] → each expert's logits [N, E, C], as an evaluation computes them."""
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        inputs = self.loader.transform(images, self.loader.epoch_sample_ids(0)[: len(images)], "test")
        logits: np.ndarray = self.network.eval().expert_logits(inputs).numpy()
        return logits


def open_network(parser: ConfigParser) -> OpenedNetwork:
    """Open the checkpoint that the configuration was read with.

    Raises:
        UserError: the configuration, the checkpoint or the data can't be read, or don't fit one another.
    """
    checkpoint = parser.resume
    assert checkpoint is not None, "the flags were read"
    config, read = run_config(parser), read_checkpoint(checkpoint)
    known = RunData.of(read.content, checkpoint.parent, parser.config["data_loader"], evaluates=True)
    loader = build_loader(config, known=known).of_split("test")
    network = bare_network(config)
    load_weights(network, read.content["state_dict"], checkpoint)
    homes = home_priors(config, loader)
    home = None if homes is None else mean_home(homes)
    return OpenedNetwork(config.name, checkpoint, read.digest, read.content.get("epoch"), network, loader, home)
