"""Which of our networks somebody's weights are of."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from model import model as networks
from model.initialisation import trunk_differences
from model.storage_free import without_storage


def twin_of(state: Mapping[str, Tensor]) -> str | None:
    """The `arch.type` whose trunk has exactly a state dict's names and shapes; None: there is none.

    Args:
        state: torchvision's, or that of a network of ours with one expert.
    """
    for name in networks.__all__:
        kind = getattr(networks, name)
        if issubclass(kind, networks.ExpertsModel):
            with without_storage():
                network = kind(num_classes=2)
            if not trunk_differences(network, state):
                return name
    return None
