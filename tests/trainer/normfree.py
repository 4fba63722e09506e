"""Networks without BatchNorm: what they compute of a batch does not depend on how it is cut."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def without_batchnorm(network: M) -> M:
    """The network, every BatchNorm2d in it replaced in place by a GroupNorm of one group.

    Must come before the optimiser is built: it brings parameters of its own.
    """
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, nn.BatchNorm2d):
                setattr(parent, name, nn.GroupNorm(1, module.num_features, device=module.weight.device))
    return network
