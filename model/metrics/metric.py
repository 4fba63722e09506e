"""What a metric is: the contract of the files of this package.

Shapes: `B` batch, `C` classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from model.metrics.labelled import LabelledLogits, SampleFunction


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
        return float(labelled.values_of(self.of_samples).mean(dtype=np.float64))


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
