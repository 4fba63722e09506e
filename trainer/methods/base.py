"""What the training loop knows of a method: it owns the network and whatever else its objective needs.

A new method is a subclass in a file of its own in this package; see `docs/extending.md`.

`B` batch, `E` experts, `C` classes, `D` features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import numpy as np
from torch import Tensor, nn

from base import Batch, Stateful, Step, View
from model.experts import ExpertModel, ModelOutput
from model.trainable import set_training_mode


class StepOutput(NamedTuple):
    """What a method says of a micro-batch.

    Attributes:
        loss: 0-dim, the mean over the images of "train".
        logs: means over the same for the record, 0-dim, detached.
        further_losses: name of another loader → 0-dim, the mean over its images; the sum of all is minimised. The
            loaders' batches need not be cut alike, so the engine weighs each mean by its own images.
    """

    loss: Tensor
    logs: dict[str, Tensor]
    further_losses: Mapping[str, Tensor] = MappingProxyType({})


class Method(nn.Module):
    """What is trained: from batches to a loss, and what else happens around an update.

    Whatever is random in `forward` is a function of its arguments and the run's seed: it is called several times a
    step by some update rules, and once for each micro-batch and process.

    Attributes:
        network: what is saved as `state_dict`.

    Class attributes:
        loaders: names of the data loaders that a step takes a batch of; "train" is `data_loader`, the others are
            those of the configuration's `loaders`.
        views: how a batch's images are augmented in `forward` (`Batch.view`).
        weights: names of the networks that are evaluated, see `networks`.
        reset: patterns of parameters that stay new when `initialise` takes weights from a checkpoint.
        trainable: patterns of the parameters that are trained, unless the configuration says it.
        needs_initialise: whether training starts from a trained network, which `initialise` must name.
    """

    loaders: ClassVar[tuple[str, ...]] = ("train",)
    views: ClassVar[tuple[View, ...]] = ("train",)
    weights: ClassVar[tuple[str, ...]] = ("raw",)
    reset: ClassVar[tuple[str, ...]] = ()
    trainable: ClassVar[tuple[str, ...]] = ("*",)
    needs_initialise: ClassVar[bool] = False

    network: ExpertModel

    def __init__(self, network: ExpertModel) -> None:
        super().__init__()
        self.network = network
        self._replicas: list[Callable[..., ModelOutput]] = []  # a list, so that it is no submodule of its own

    @classmethod
    def prepare_network(cls, network: ExpertModel) -> None:
        """Add to a new network what the method's predictor has besides; for training as for evaluation."""

    def forward(self, batches: Mapping[str, Batch], step: Step) -> StepOutput:
        """The loss of a micro-batch of each of `loaders`, on the device; [B, …] each."""
        raise NotImplementedError

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """What the optimiser is given."""
        return (weight for weight in self.network.parameters() if weight.requires_grad)

    def start_epoch(self, epoch: int) -> None:
        """Called before an epoch's first step, and again where a run is continued within it.

        The place to freeze and free parameters and to choose between training and evaluation mode.
        """
        set_training_mode(self.network)

    def after_update(self, step: Step) -> None:
        """Called after each update of the weights, not after a skipped step."""

    def finish_epoch(self, epoch: int, images: Callable[[], Iterable[Tensor]]) -> None:
        """Called after an epoch's last step; again for the same epoch where a run is continued right there.

        Args:
            epoch: counted from 1.
            images: gives this process's training images of the epoch, augmented but not mixed, [B, 3, H, W].
        """

    def networks(self) -> dict[str, ExpertModel]:
        """The networks to evaluate, by the names in `weights`; "raw" is the trained one."""
        return {"raw": self.network}

    def checkpoint_parts(self) -> dict[str, Stateful]:
        """Name in the checkpoint → what it holds of the method, the network included.

        Before each checkpoint all numbers in it must be finite, or the run ends; but for the loss's, `criterion`.
        """
        return {"state_dict": self.network}

    def home_priors(self) -> np.ndarray | None:
        """The class prior under which each expert's logits are right, [E, C]; [1, C]: under which their mean is.

        None: it can't be said.
        """
        return None

    def run_network(self, images: Tensor, dropout_factors: Tensor | None = None) -> ModelOutput:
        """The network, on all the devices it is spread over; see `ExpertModel.forward`."""
        run = self._replicas[0] if self._replicas else self.network
        return run(images, dropout_factors)

    def spread(self, replicas: Callable[..., ModelOutput]) -> None:
        """From now on run the network by `replicas`, which spreads a batch over several devices."""
        self._replicas = [replicas]


class WrappedMethod(Method):
    """A method around another one, which it leaves as it is but for what a subclass overrides.

    Args:
        method: the other one.
    """

    def __init__(self, method: Method) -> None:
        super().__init__(method.network)
        self.method = method
        # the wrapper asks of the loop what the inner method asks of it
        for name in ("loaders", "views", "reset", "trainable", "needs_initialise"):
            setattr(self, name, getattr(method, name))

    def forward(self, batches: Mapping[str, Batch], step: Step) -> StepOutput:
        """That of the inner method."""
        return self.method(batches, step)

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """Those of the inner method."""
        return self.method.trainable_parameters()

    def start_epoch(self, epoch: int) -> None:
        """That of the inner method."""
        self.method.start_epoch(epoch)

    def after_update(self, step: Step) -> None:
        """That of the inner method."""
        self.method.after_update(step)

    def finish_epoch(self, epoch: int, images: Callable[[], Iterable[Tensor]]) -> None:
        """That of the inner method."""
        self.method.finish_epoch(epoch, images)

    def networks(self) -> dict[str, ExpertModel]:
        """Those of the inner method."""
        return self.method.networks()

    def checkpoint_parts(self) -> dict[str, Stateful]:
        """Those of the inner method."""
        return self.method.checkpoint_parts()

    def home_priors(self) -> np.ndarray | None:
        """Those of the inner method."""
        return self.method.home_priors()

    def spread(self, replicas: Callable[..., ModelOutput]) -> None:
        """Spread the inner method's network."""
        self.method.spread(replicas)
