"""What a metric is, and what it is given: the contract of the files of this package.

Shapes: `B` batch, `N` samples of a whole set, `C` classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.calibration import softmax, top_confidences
from model.class_calibration import ClassBins, class_bins
from model.scores import class_accuracies, group_accuracies
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

    @cached_property
    def predictions(self) -> NDArray[np.intp]:
        """The class with the largest logit, [N]."""
        return self.logits.argmax(axis=1)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether it is the right one, [N]."""
        return self.predictions == self.targets

    @cached_property
    def confidences(self) -> NDArray[np.floating]:
        """The probability of the predicted class, [N]."""
        return top_confidences(self.logits)

    @cached_property
    def probabilities(self) -> NDArray[np.floating]:
        """Softmax of the logits, [N, C]."""
        return softmax(self.logits)

    @cached_property
    def class_bins(self) -> ClassBins:
        """Sums over the samples by each class's probability, of which calibration and Brier score follow."""
        return class_bins(self.logits, self.targets)

    @cached_property
    def class_accuracies(self) -> NDArray[np.float64]:
        """Fraction of each class's samples that are predicted right, [C]; nan for a class without samples."""
        return class_accuracies(self.predictions, self.targets, self.logits.shape[1])

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


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """A number that says how good predictions are.

    Args:
        name: in configurations, logs and result files.
        title: in tables.
        percent: tables show it times 100.
        higher_is_better: its direction.
        in_table: tables show it; result files have it in any case.
    """

    name: str
    title: str
    percent: bool
    higher_is_better: bool
    in_table: bool

    @abstractmethod
    def of_set(self, labelled: LabelledLogits) -> float:
        """Its value on a whole set; nan where it is not defined (an empty group)."""


@dataclass(frozen=True, kw_only=True)
class SampleMetric(Metric):
    """A mean over samples, so that training batches have it, too.

    Args:
        of_samples: logits [B, C], targets [B] → a value for each sample [B], on their device, without waiting for it.
    """

    of_samples: SampleFunction

    def of_batch(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean of a batch (0-dim, float32), for logits [B, C] and targets [B] on any device."""
        return self.of_samples(output, target).float().mean()

    def of_set(self, labelled: LabelledLogits) -> float:
        """Mean over all samples, summed in float64."""
        return float(self.of_samples(*labelled.tensors).numpy().mean(dtype=np.float64))


@dataclass(frozen=True, kw_only=True)
class SetMetric(Metric):
    """A property of a whole set: batches of training don't have it, validation and tests do.

    Args:
        function: → the value.
    """

    function: Callable[[LabelledLogits], float]

    def of_set(self, labelled: LabelledLogits) -> float:
        """As `function` has it."""
        return float(self.function(labelled))


def sample_metric(
    title: str, *, percent: bool = True, higher_is_better: bool = True, in_table: bool = True
) -> Callable[[SampleFunction], SampleMetric]:
    """Make a function (logits [B, C], targets [B]) → values [B] a metric under the function's name."""

    def decorate(function: SampleFunction) -> SampleMetric:
        return SampleMetric(
            name=function.__name__,
            title=title,
            percent=percent,
            higher_is_better=higher_is_better,
            in_table=in_table,
            of_samples=function,
        )

    return decorate


def set_metric(
    title: str, *, percent: bool = True, higher_is_better: bool = True, in_table: bool = True
) -> Callable[[Callable[[LabelledLogits], float]], SetMetric]:
    """Make a function of `LabelledLogits` a metric under the function's name."""

    def decorate(function: Callable[[LabelledLogits], float]) -> SetMetric:
        return SetMetric(
            name=function.__name__,
            title=title,
            percent=percent,
            higher_is_better=higher_is_better,
            in_table=in_table,
            function=function,
        )

    return decorate
