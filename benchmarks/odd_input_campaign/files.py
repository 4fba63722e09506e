"""Files beside the configuration and the checkpoint: images, lists, data sets, predictions, results, priors."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.odd_input_campaign import data_files, image_files, run_files
from benchmarks.odd_input_campaign.cases import Case


def generate(material: Path, random_: random.Random, folder: Path) -> Case:
    """An odd file in `folder`, and the command that reads it."""
    families: list[tuple[Callable[[random.Random, Path], Case], int]] = [
        (image_files.image, 26),
        (image_files.no_image, 10),
        (image_files.names, 12),
        (image_files.folders, 8),
        (data_files.lists, 24),
        (data_files.cifar, 18),
        (partial(data_files.priors, material), 12),
        (partial(run_files.beside_a_checkpoint, material), 18),
        (partial(run_files.no_file_beside, material), 8),
        (partial(run_files.log_configuration, material), 8),
    ]
    (family,) = random_.choices([family for family, _ in families], [weight for _, weight in families])
    return family(random_, folder)
