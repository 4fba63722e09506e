"""What the training step knows of an update rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from torch import nn
from torch.optim import Optimizer

from trainer.engine.engine import StepMeasures
from trainer.engine.precision import Precision


class ComputeGradients(Protocol):
    """Sets the gradients of a step's batches, at the weights as they are; may be called several times a step."""

    def __call__(self, *, synchronised: bool = True) -> StepMeasures:
        """The losses; the processes exchange gradients unless `synchronised` is false."""
        ...


class UpdateRule(ABC):
    """From gradients to an update.

    Args:
        optimizer: of the trained parameters.
        precision: of the run: it has fp16's loss scale.
        network: the trained one.
    """

    def __init__(self, optimizer: Optimizer, precision: Precision, network: nn.Module) -> None:
        self.optimizer = optimizer
        self.precision = precision
        self.network = network

    @abstractmethod
    def __call__(
        self, compute_gradients: ComputeGradients, is_finite: Callable[[StepMeasures], bool]
    ) -> StepMeasures | None:
        """Update the weights.

        Args:
            compute_gradients: of this step's batches.
            is_finite: whether the weights may be updated by gradients with these losses; to be asked once.

        Returns:
            the losses to record; None where the step is skipped, the weights being what they were.
        """
