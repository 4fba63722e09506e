"""Networks without BatchNorm: what they compute of a batch does not depend on how it is cut."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

import trainer.build
from model.experts import ExpertModel
from trainer.config.run_config import RunConfig

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


def build_exact_networks() -> None:
    """Networks that runs build from now on in this process have no BatchNorm, and compute in float64.

    What is left of a difference is rounding, and in float64 nothing else is as small.
    """
    built = trainer.build.build_model

    def build(config: RunConfig, device: torch.device) -> ExpertModel:
        network = without_batchnorm(built(config, device)).double()
        network.register_forward_pre_hook(lambda _, given: (given[0].double(), *given[1:]))
        return network

    trainer.build.build_model = build
