"""Which part of a network is trained; the rest stays as it is to the bit, BatchNorm's statistics included."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def matching(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The names that one of the patterns fits, in their order; `*` stands for any text, as in file names.

    Raises:
        ValueError: a pattern fits no name; the line tells what is near.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"{pattern!r} fits none of the network's parameters; {_hint(pattern, names)}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _hint(pattern: str, names: Sequence[str]) -> str:
    """Patterns that fit something and resemble one that doesn't; else how the names begin."""
    fitting: dict[str, str] = {}  # text to compare with → the pattern to suggest
    for name in names:
        parts = name.split(".")
        fitting |= {part: f"*{part}*" for part in parts if not part.isdigit()}
        fitting |= {".".join(parts[:count]): f"{'.'.join(parts[:count])}.*" for count in range(1, len(parts))}
        fitting[name] = name
    close = get_close_matches(pattern.strip("*."), fitting, n=3, cutoff=0.6)
    if close:
        return f"near are {', '.join(fitting[text] for text in close)}"
    return f"they begin with {', '.join(dict.fromkeys('.'.join(name.split('.')[:2]) for name in names))}"


def freeze_except(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Let only the parameters that one of the patterns fits be trained; return their names.

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


def frozen_batchnorms(network: nn.Module) -> set[str]:
    """Names of the network's BatchNorm modules that are frozen, so that their statistics are to stay as they are."""
    layers = [name for name, module in network.named_modules() if isinstance(module, _BatchNorm)]
    return {name for name in layers if not _is_trained(network, name)}


def set_training_mode(network: nn.Module) -> None:
    """Training mode, but evaluation mode for BatchNorm that is frozen: its statistics then stay as they are."""
    network.train()
    for name in frozen_batchnorms(network):
        network.get_submodule(name).eval()


def _is_trained(network: nn.Module, name: str) -> bool:
    """Whether a module is trained: some parameter of its own is, or, without any, of the module around it."""
    while name and next(network.get_submodule(name).parameters(), None) is None:
        name = name.rpartition(".")[0]
    return any(weight.requires_grad for weight in network.get_submodule(name).parameters())
