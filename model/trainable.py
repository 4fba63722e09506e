"""Which part of a network is trained; the rest stays as it is to the bit, BatchNorm's statistics included."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from utils.errors import nearest


def matching(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The names that one of the patterns fits, in their order; `*` stands for any text, as in file names.

    Raises:
        ValueError: a pattern fits no name.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            examples = nearest(pattern, names) or f"; the first ones are {', '.join(names[:3])}"
            raise ValueError(f"{pattern!r} fits none of the network's parameters{examples}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def freeze_except(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Let only the parameters that one of the patterns fits be trained; returns their names.

    Raises:
        ValueError: a pattern fits no parameter, or there is no pattern.
    """
    weights = dict(network.named_parameters())
    trained = matching(list(weights), patterns)
    if not trained:
        raise ValueError("no parameter is left to train")
    for name, weight in weights.items():
        weight.requires_grad_(name in trained)
    return trained


def set_training_mode(network: nn.Module) -> None:
    """Training mode, but evaluation mode for BatchNorm whose weights are all frozen: its statistics then stay."""
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm) and not any(weight.requires_grad for weight in module.parameters()):
            module.eval()
