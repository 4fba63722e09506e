"""Test distributions and how a network does on them: index arithmetic on stored logits.

One protocol serves every data set: the whole test split is *uniform*; *forward r* and *backward r* are long-tailed
selections of it at imbalance ratio r, along the training frequencies and against them.

`N` images, `E` experts, `C` classes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_loader.datasets.longtail import SHIFT_RATIOS, shift_factor, shifted_indices
from data_loader.loader import ImageDataLoader
from model.priors import adjust_logits
from model.scores import score
from trainer.evaluation.predictions import Predictions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preset:
    """What distinguishes one sweep from another.

    Args:
        title: the data sets it is for.
        ratios: imbalance ratios, falling.
    """

    title: str
    ratios: tuple[int, ...]


PRESETS = {
    "cifar": Preset("CIFAR-10-LT, CIFAR-100-LT, digits-LT and Fashion-MNIST-LT", SHIFT_RATIOS),
    "imagenet": Preset("ImageNet-LT, Places-LT and other lists or folders of images", SHIFT_RATIOS),
    "inat": Preset("iNaturalist 2018", (3, 2)),
}


@dataclass(frozen=True)
class Distribution:
    """A test distribution.

    Args:
        name: "forward50", "uniform", "backward2", …
        indices: which images of the test split it holds, int64, shape [M].
    """

    name: str
    indices: np.ndarray


def distributions(loader: ImageDataLoader, ratios: Sequence[int]) -> list[Distribution]:
    """The test distributions of a data set in the order of report: forward, most shifted first; uniform; backward.

    Args:
        loader: of the test split.
        ratios: imbalance ratios, falling.
    """
    forward = [_shifted(loader, "forward", ratio) for ratio in ratios]
    backward = [_shifted(loader, "backward", ratio) for ratio in reversed(ratios)]
    derived = [shift.name for shift, published in (*forward, *backward) if not published]
    if derived:
        logger.info("Derived by the benchmark's rule, without list files: %s.", ", ".join(derived))
    uniform = Distribution("uniform", np.arange(len(loader.targets)))
    return [*(shift for shift, _ in forward), uniform, *(shift for shift, _ in backward)]


def _shifted(loader: ImageDataLoader, direction: str, ratio: int) -> tuple[Distribution, bool]:
    """A shifted distribution, and whether it comes from a published list; else it is derived by the same rule."""
    indices = loader.published_shift(direction, ratio)
    published = indices is not None
    if indices is None:
        factor = shift_factor(ratio)
        indices = shifted_indices(loader.targets, loader.cls_num_list, factor=factor, backward=direction == "backward")
    return Distribution(f"{direction}{ratio}", indices), published


def evaluate(
    predictions: Predictions,
    distribution: Distribution,
    class_counts: Sequence[int],
    *,
    correct_prior: bool = False,
    expert: int | None = None,
) -> dict[str, Any]:
    """Scores on one distribution.

    Args:
        predictions: on the whole test split.
        distribution: which of its images count.
        class_counts: training images of each class, length C; the groups many, medium, few follow from them.
        correct_prior: add log π_test to the logits, π_test being the distribution's own class frequencies.
        expert: score this expert alone; None: the ensemble, the plain mean of the experts' raw logits.

    Returns:
        see `model.scores.score`.
    """
    logits = predictions.logits[distribution.indices]
    targets = predictions.targets[distribution.indices]
    chosen = logits.mean(axis=1) if expert is None else logits[:, expert]  # [M, E, C] → [M, C]
    if correct_prior:
        chosen = adjust_logits(chosen, np.bincount(targets, minlength=chosen.shape[1]))
    return score(chosen, targets, class_counts)
