"""A network's first weights out of a file: of one of our checkpoints, a plain state dict, or a torchvision network.

torchvision's names (`conv1`, `layer3.0.bn2`, `fc`) are ours without the prefix `backbone.`. A stage that each expert
owns here and that the source has once is copied into each expert; classifiers of another network stay new.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.experts import ExpertModel
from model.trainable import matching

_OF_ONE_EXPERT = re.compile(r"(layer\d|linear)s\.\d+\.")
_TORCHVISION_CLASSIFIER = "fc."
_STEM = "backbone.conv1.weight"
_SHOWN = 3


@dataclass(frozen=True)
class TakenWeights:
    """What became of a source's weights.

    Args:
        source: where they are from.
        taken: names of ours that have the source's values.
        new: names of ours that are as they were initialised.
        unused: names of the source's that nothing was taken from.
    """

    source: str
    taken: tuple[str, ...]
    new: tuple[str, ...]
    unused: tuple[str, ...]

    def summary(self) -> str:
        """One line for the log."""
        parts = [f"initialised from {self.source}: {len(self.taken)} tensors taken"]
        parts += [f"new: {_first(self.new)}"] if self.new else []
        parts += [f"not taken: {_first(self.unused)}"] if self.unused else []
        return "; ".join(parts)


def take_weights(
    network: ExpertModel,
    state: Mapping[str, Tensor],
    *,
    source: str,
    reset: Sequence[str] = (),
    strict: bool = True,
) -> TakenWeights:
    """Put weights into a network, in place.

    Args:
        network: newly initialised.
        state: the source's state dict, with or without DataParallel's prefix `module.`.
        source: what to call it.
        reset: patterns over the network's parameter names: these stay new.
        strict: whatever is not reset must be in the source, but for classifiers and what a method has added; else
            what does not fit in name or shape stays new.

    Raises:
        ValueError: the source is of another network, or a pattern fits nothing.
    """
    own = network.state_dict()
    names = _our_names({name.removeprefix("module."): value for name, value in state.items()})
    kept_new = set(matching(list(own), reset)) if reset else set()
    origin = {name: source_name for name in own if (source_name := _origin_of(name, names)) is not None}
    fitting = {
        name: names[source_name] for name, source_name in origin.items() if names[source_name].shape == own[name].shape
    }
    if strict:
        _refuse_another_network(own, names, origin, fitting, kept_new)
    taken = [name for name in own if name in fitting and name not in kept_new]
    with torch.no_grad():
        for name in taken:
            own[name].copy_(fitting[name])
    used = {origin[name] for name in taken}
    return TakenWeights(
        source,
        tuple(taken),
        tuple(name for name in own if name not in set(taken)),
        tuple(name for name in names if name not in used),
    )


def _our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict by our names: torchvision's get the prefix that ours have."""
    if any(name.startswith("backbone.") for name in state):
        return dict(state)
    return {name if name.startswith(_TORCHVISION_CLASSIFIER) else f"backbone.{name}": state[name] for name in state}


def _origin_of(name: str, names: Mapping[str, Tensor]) -> str | None:
    """The source's tensor that one of ours is taken from: of the same name, or of the stage that it has only once."""
    if name in names:
        return name
    once = _OF_ONE_EXPERT.sub(r"\1.", name)
    return once if once in names else None


def _refuse_another_network(
    own: Mapping[str, Tensor],
    names: Mapping[str, Tensor],
    origin: Mapping[str, str],
    fitting: Mapping[str, Tensor],
    kept_new: set[str],
) -> None:
    """Raise a ValueError where more than classifiers differ."""

    def may_be_new(name: str) -> bool:
        return name in kept_new or not name.startswith("backbone.") or name.startswith("backbone.linear")

    shapes = [
        f"{name} {_shape(names[origin[name]])} instead of {_shape(own[name])}"
        for name in own
        if name in origin and name not in fitting and not may_be_new(name)
    ]
    if shapes and _STEM in origin and _STEM not in fitting:
        theirs, ours = (tensor.shape[-1] for tensor in (names[_STEM], own[_STEM]))
        raise ValueError(
            f"is another network: its stem is a {theirs}×{theirs} convolution, this network's a {ours}×{ours} one "
            f"({shapes[0]})"
        )
    missing = [name for name in own if name not in origin and not may_be_new(name)]
    used = {*origin.values()}
    unknown = [name for name in names if name not in used and name.startswith("backbone.layer")]
    kinds = {"other shapes": shapes, "missing": missing, "unknown": unknown}
    different = "; ".join(f"{title} {_first(entries)}" for title, entries in kinds.items() if entries)
    if different:
        raise ValueError(f"is another network: {different}; strict=false takes what fits")


def _first(names: Sequence[str]) -> str:
    """The first few names, and how many there are."""
    rest = f" … ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
