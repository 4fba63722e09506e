"""Which test images a network was trained on: searched for once, counted in every row, refused among own images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_loader.datasets.image_sets import ImageSet
from data_loader.loader import ImageDataLoader
from data_loader.run_data import RunData
from data_loader.trained_images import find_trained_on
from trainer.config.run_config import RunConfig
from trainer.evaluation.distributions import Distribution
from trainer.evaluation.predictions import Predictions
from trainer.loaders import recalled_loader
from utils.errors import UserError

_NAMED = 3


@dataclass(frozen=True)
class TrainedImages:
    """How a run's training images are looked for among its test images.

    Args:
        config: of the evaluation.
        content: the checkpoint's.
        known: what the run knows of its images; None: the configuration's are its training images.
        allowed: own images may be among them; else that is an error.
    """

    config: RunConfig
    content: Mapping[str, Any]
    known: RunData | None
    allowed: bool

    def search(self, tested: ImageDataLoader) -> np.ndarray | None:
        """Indices of a split's images that were trained on, int64; None: not known.

        Raises:
            UserError: there are some, the images are no published ones, and that is not allowed.
        """
        trained = self._training_images(tested)
        kept = self.known.kept.contents if self.known is not None and self.known.kept is not None else {}
        images = tested.splits[tested.split]
        found = None if trained is None or not len(trained) else find_trained_on(images, trained, kept)
        self.require(tested, found)
        return found

    def require(self, tested: ImageDataLoader, found: np.ndarray | None) -> None:
        """Refuse what `search` has found, as it does."""
        if found is not None and len(found) and not (self.allowed or tested.is_public):
            raise UserError(
                f"{_named(tested, found)}; evaluate on other images, or give --allow-trained to count them in"
            )

    def checked(self, predictions: Predictions, tested: ImageDataLoader) -> Predictions:
        """Predictions that say which of their images were trained on: searched for again where it was not known.

        Raises:
            UserError: as of `search`.
        """
        if predictions.trained_on is None:
            return replace(predictions, trained_on=self.search(tested))
        self.require(tested, predictions.trained_on)
        return predictions

    def _training_images(self, tested: ImageDataLoader) -> ImageSet | None:
        if self.known is None:
            return tested.splits["train"]
        recalled = recalled_loader(self.config, self.content["config"].get("data_loader"), self.known)
        return None if recalled is None else recalled.splits["train"]


def trained_in_words(tested: ImageDataLoader, found: np.ndarray | None) -> str:
    """A line for above the table; empty where no test image was trained on."""
    if found is None:
        told = "whether test images were trained on is not known: the run's training images are not there\n"
        return "" if tested.is_public else told
    if not len(found):
        return ""
    if tested.is_public:
        return f"warning: {len(found)} of {len(tested.targets)} test images were trained on, by their contents\n"
    return f"warning: {_named(tested, found)}\n"


def trained_counts(predictions: Predictions, distributions: Sequence[Distribution]) -> dict[str, int | None]:
    """Images that were trained on in each test distribution, by its name; None: not known."""
    if predictions.trained_on is None:
        return dict.fromkeys(distribution.name for distribution in distributions)
    trained = np.zeros(len(predictions.targets) + len(predictions.skipped), bool)
    trained[predictions.trained_on] = True
    of_readable = np.delete(trained, predictions.skipped)  # which the distributions count
    return {distribution.name: int(of_readable[distribution.indices].sum()) for distribution in distributions}


def _named(tested: ImageDataLoader, found: np.ndarray) -> str:
    names = ", ".join(tested.files_of(found[:_NAMED])) + ", …" * (len(found) > _NAMED)
    return f"{len(found)} of {len(tested.targets)} test images were trained on, by their contents: {names}"
