"""What metrics are given: logits with labels, and what several of them need, computed once.

Shapes: `N` samples of a whole set, `C` classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.calibration import ReliabilityBins, log_normaliser, reliability_bins, softmax
from model.class_calibration import ClassBins, ClassForecasts
from model.scores import class_accuracies, group_accuracies
from utils.row_blocks import row_blocks
from utils.shot_groups import shot_groups

SampleFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class LabelledLogits:
    """A set of samples with logits and labels; what several metrics need is computed once, at its first use.

    Args:
        logits: [N, C] with N ≥ 1, of an ensemble or of one expert.
        targets: [N], class indices.
        class_counts: [C], training images of each class; None: unknown.
    """

    logits: NDArray[np.floating]
    targets: NDArray[np.integer]
    class_counts: NDArray[np.integer] | None

    @property
    def num_classes(self) -> int:
        """C."""
        return self.logits.shape[1]

    @cached_property
    def predictions(self) -> NDArray[np.intp]:
        """The class with the largest logit, [N]."""
        return self.logits.argmax(axis=1)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether it is the right one, [N]."""
        return self.predictions == self.targets

    @cached_property
    def log_normalisers(self) -> NDArray[np.floating]:
        """log Σ_c exp(logit), [N]."""
        return log_normaliser(self.logits)

    @cached_property
    def confidences(self) -> NDArray[np.floating]:
        """The probability of the predicted class, [N]; never above 1."""
        return np.exp(np.minimum(self._logits_of(self.predictions) - self.log_normalisers, 0))

    @cached_property
    def surprisals(self) -> NDArray[np.floating]:
        """−log p(target) in nats, [N]."""
        return self.log_normalisers - self._logits_of(self.targets)

    @cached_property
    def probabilities(self) -> NDArray[np.floating]:
        """Softmax of the logits, [N, C]."""
        return softmax(self.logits)

    @cached_property
    def brier_scores(self) -> NDArray[np.float64]:
        """Σ_c (p(c|x) − [x is of class c])² of each sample, [N]."""
        return self._forecasts.brier_scores

    @cached_property
    def class_bins(self) -> ClassBins:
        """Sums over the samples by each class's probability, of which class-wise calibration follows."""
        return self._forecasts.bins()

    @cached_property
    def reliability(self) -> ReliabilityBins:
        """The samples in 15 bins of equal width by their confidence."""
        return reliability_bins(self.confidences, self.correct)

    @cached_property
    def class_accuracies(self) -> NDArray[np.float64]:
        """Fraction of each class's samples that are predicted right, [C]; nan for a class without samples."""
        return class_accuracies(self.predictions, self.targets, self.num_classes)

    @cached_property
    def group_accuracies(self) -> dict[str, float]:
        """Mean class accuracy of the classes with many, medium and few training images; nan for an empty group.

        Without training counts all three are.
        """
        if self.class_counts is None:
            return dict.fromkeys(shot_groups([]), float("nan"))
        return group_accuracies(self.class_accuracies, self.class_counts)

    @cached_property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """Logits [N, C] and targets [N] as tensors on the CPU; they share the arrays' memory where it is writable."""
        logits, targets = (np.require(array, requirements="W") for array in (self.logits, self.targets))
        return torch.from_numpy(logits), torch.from_numpy(targets)

    def values_of(self, function: SampleFunction) -> NDArray[Any]:
        """What a function of logits and targets has for each sample, [N]; computed once."""
        if function not in self._values:
            logits, targets = self.tensors
            blocks = row_blocks(*logits.shape)
            self._values[function] = np.concatenate([function(logits[rows], targets[rows]).numpy() for rows in blocks])
        return self._values[function]

    def selected(self, samples: NDArray[np.integer], class_bins: Callable[[], ClassBins] | None = None) -> Selected:
        """Some of the samples, or some of them several times; what is known of each is not computed again.

        Args:
            samples: indices, [M] with M ≥ 1.
            class_bins: how to come by their class bins; None: from their logits.
        """
        return Selected(self, samples, class_bins)

    def _logits_of(self, classes: NDArray[np.integer]) -> NDArray[np.floating]:
        return self.logits[np.arange(len(classes)), classes]

    @cached_property
    def _forecasts(self) -> ClassForecasts:
        return ClassForecasts(self.logits, self.targets, log_normalisers=self.log_normalisers)

    @cached_property
    def _values(self) -> dict[SampleFunction, NDArray[Any]]:
        return {}


class Selected(LabelledLogits):
    """Samples of a larger set: their logits are copied only for what can't do without."""

    def __init__(
        self, whole: LabelledLogits, samples: NDArray[np.integer], class_bins: Callable[[], ClassBins] | None
    ) -> None:
        vars(self).update(targets=whole.targets[samples], class_counts=whole.class_counts)
        vars(self).update(_whole=whole, _samples=samples, _given_bins=class_bins)

    _whole: LabelledLogits
    _samples: NDArray[np.integer]
    _given_bins: Callable[[], ClassBins] | None

    @cached_property
    def logits(self) -> NDArray[np.floating]:
        """[M, C], copied at the first use."""
        return self._whole.logits[self._samples]

    @property
    def num_classes(self) -> int:
        """C."""
        return self._whole.num_classes

    @cached_property
    def predictions(self) -> NDArray[np.intp]:
        """The class with the largest logit, [M]."""
        return self._whole.predictions[self._samples]

    @cached_property
    def log_normalisers(self) -> NDArray[np.floating]:
        """log Σ_c exp(logit), [M]."""
        return self._whole.log_normalisers[self._samples]

    @cached_property
    def confidences(self) -> NDArray[np.floating]:
        """The probability of the predicted class, [M]."""
        return self._whole.confidences[self._samples]

    @cached_property
    def surprisals(self) -> NDArray[np.floating]:
        """−log p(target) in nats, [M]."""
        return self._whole.surprisals[self._samples]

    @cached_property
    def brier_scores(self) -> NDArray[np.float64]:
        """Squared distances of probabilities and label, [M]."""
        return self._whole.brier_scores[self._samples]

    @cached_property
    def class_bins(self) -> ClassBins:
        """As they are given, or from the logits."""
        return super().class_bins if self._given_bins is None else self._given_bins()

    def values_of(self, function: SampleFunction) -> NDArray[Any]:
        """What the function has for each sample of the larger set, [M]."""
        return self._whole.values_of(function)[self._samples]
