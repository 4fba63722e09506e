"""Names, training counts and pictures of a run's classes, from its checkpoint and, where they can be read, its data."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from data_loader.loader import ImageDataLoader
from data_loader.run_data import RunData
from trainer.config.run_config import run_config
from trainer.loaders import build_loader
from trainer.report.files import RunFiles
from utils.config.parser import ConfigParser
from utils.errors import EarlyEnd, reason_of
from utils.files.checkpoint import read_checkpoint

_SIDE = 112  # pixels of a picture on the page, at most


@dataclass(frozen=True, eq=False)
class RunClasses:
    """A run's classes.

    Args:
        names: length C.
        counts: training images of each, length C; None: unknown.
        loader: of the test images; None: they can't be read.
    """

    names: list[str]
    counts: list[int] | None
    loader: ImageDataLoader | None = None

    def pictures(self, indices: Sequence[int]) -> list[str]:
        """Test images as `data:` URLs of PNGs, at most 112 pixels a side; empty texts where they can't be read."""
        if self.loader is None:
            return [""] * len(indices)
        return [self._picture(index) for index in indices]

    def _picture(self, index: int) -> str:
        assert self.loader is not None
        try:
            sample = self.loader.epoch_sample_ids(0)[index : index + 1]
            pixels = torch.as_tensor(self.loader.images.read(sample))[0].permute(1, 2, 0)  # [3, S, S] → [S, S, 3]
        except Exception:  # files that are gone since raise nearly anything; the names are shown all the same
            return ""
        picture, buffer = Image.fromarray(np.ascontiguousarray(pixels.numpy())), io.BytesIO()
        picture.thumbnail((_SIDE, _SIDE))
        picture.save(buffer, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def read_classes(run: RunFiles, num_classes: int) -> RunClasses:
    """What is known of a run's classes; what is not is added to the run's `missing`."""
    names: list[str] = [str(label) for label in range(num_classes)]
    counts: list[int] | None = None
    try:
        if run.checkpoint is None:
            raise EarlyEnd("there is no checkpoint")
        content = read_checkpoint(run.checkpoint).content
        stored_names, stored_counts = content.get("class_names"), content.get("class_counts")
        if stored_names and num_classes in (0, len(stored_names)):
            names = [str(name) for name in stored_names]
            counts = stored_counts if stored_counts and len(stored_counts) == len(names) else None
        parser = ConfigParser.from_file(run.folder / "config.json")
        known = RunData.of(content, run.folder, parser.config["data_loader"], evaluates=True)
        loader = build_loader(run_config(parser, trained=True), known=known).of_split("test")
        if num_classes not in (0, loader.num_classes):
            raise EarlyEnd(f"the data have {loader.num_classes} classes, the results {num_classes}")
        if run.predictions is not None and not np.array_equal(
            loader.targets[run.predictions.indices], run.predictions.targets
        ):
            raise EarlyEnd("the test images are no longer those of the kept predictions")
        return RunClasses(loader.class_names, loader.cls_num_list, loader)
    except Exception as error:  # whatever a checkpoint or a data set may raise, the page is written without them
        run.missing.append(f"The images can't be read, only names are shown: {reason_of(error)}")
    return RunClasses(names, counts)
