"""A network's first weights out of a state dict: one of ours, or one of torchvision's ResNets and ResNeXts.

torchvision's names (`conv1`, `layer3.0.bn2`, `fc`) are ours without the prefix `backbone.`. A stage that each expert
owns here and that the source has once is copied into each expert, and so is its classifier; torchvision's stays out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.experts import ExpertModel
from model.trainable import matching

_TRUNK = "backbone."
_CLASSIFIER = "backbone.linear"
_STEM = "backbone.conv1.weight"
_OF_ONE_EXPERT = re.compile(r"(layer\d|linear)s\.\d+\.|lasts\.\d+\.")
_OTHER_CLASSIFIERS = ("fc.", "head.fc.", "classifier.")  # torchvision's, and timm's
_SHOWN = 3


@dataclass(frozen=True)
class TakenWeights:
    """What became of a source's weights.

    Attributes:
        source: where they are from.
        taken: names of ours that have the source's values.
        new: names of ours that are as they were initialised.
        unused: names of the source's, with our prefix, that nothing was taken from.
    """

    source: str
    taken: tuple[str, ...]
    new: tuple[str, ...]
    unused: tuple[str, ...]

    def summary(self) -> str:
        """One line for the log."""
        total = len(self.taken) + len(self.new)
        parts = [f"initialised from {self.source}: {len(self.taken)} of {total} tensors taken"]
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
        reset: patterns over the names in the network's state dict: these stay new.
        strict: whatever is not reset must be in the source, but for classifiers, for what a method has added, and for
            BatchNorm's count of batches, which old files lack; else what doesn't fit in name or shape stays new.

    Raises:
        ValueError: the source is of another network, nothing is taken from it, or a pattern fits nothing. The network
            is then as it was.
    """
    own = network.state_dict()
    names = _our_names(state)
    stay_new = set(matching(list(own), reset))
    origins = _origins(own, names)
    fitting = _fitting(own, names, origins)
    if strict:
        differences = _differences(own, names, origins, fitting, stay_new)
        if differences:
            raise ValueError(f"{source}: is of another network: {differences}; strict=false takes what fits")
    taken = [name for name in own if name in fitting and name not in stay_new]
    if not taken:
        raise ValueError(f"{source}: nothing is taken from it; it has {_first(list(names))}")
    with torch.no_grad():
        for name in taken:
            own[name].copy_(names[origins[name]])
    used = {origins[name] for name in taken}
    new = own.keys() - set(taken)
    return TakenWeights(
        source,
        tuple(taken),
        tuple(name for name in own if name in new),
        tuple(name for name in names if name not in used),
    )


def trunk_differences(network: ExpertModel, state: Mapping[str, Tensor]) -> str:
    """How a source's trunk differs from a network's, in words; empty: `take_weights` takes the whole of it.

    Args:
        network: its values don't matter; it may be on the meta device.
        state: as for `take_weights`.
    """
    own = network.state_dict()
    names = _our_names(state)
    origins = _origins(own, names)
    return _differences(own, names, origins, _fitting(own, names, origins), set())


def _our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict by our names: torchvision's get the prefix that ours have, and DataParallel's goes."""
    state = {name.removeprefix("module."): value for name, value in state.items()}
    if any(name.startswith(_TRUNK) for name in state):
        return state
    return {name if name.startswith(_OTHER_CLASSIFIERS) else _TRUNK + name: state[name] for name in state}


def _origins(own: Mapping[str, Tensor], names: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of ours → the source's that they are taken from, where it has one."""
    return {name: origin for name in own if (origin := _origin_of(name, names)) is not None}


def _origin_of(name: str, names: Mapping[str, Tensor]) -> str | None:
    """The source's tensor that one of ours is taken from: of the same name, or of the stage that it has only once."""
    if name in names:
        return name
    once = _OF_ONE_EXPERT.sub(lambda found: f"{found[1]}." if found[1] else "", name)
    return once if once in names else None


def _fitting(own: Mapping[str, Tensor], names: Mapping[str, Tensor], origins: Mapping[str, str]) -> set[str]:
    """The names of ours whose origin has the same form; of a classifier, all of them or none.

    A square cosine classifier's weight [D, C] has the shape of a linear one's [C, D] and means its transpose.
    """

    def forms_beside(name: str, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        module = name.rpartition(".")[0] + "."
        return {each.removeprefix(module): _form(tensors[each]) for each in tensors if each.startswith(module)}

    def fits(name: str, origin: str) -> bool:
        if name.startswith(_CLASSIFIER):
            return forms_beside(name, own) == forms_beside(origin, names)
        return _form(own[name]) == _form(names[origin])

    return {name for name, origin in origins.items() if fits(name, origin)}


def _differences(
    own: Mapping[str, Tensor],
    names: Mapping[str, Tensor],
    origins: Mapping[str, str],
    fitting: set[str],
    stay_new: set[str],
) -> str:
    """What tells the source's trunk from the network's, the first few of each kind; empty if nothing does."""
    needed = [
        name for name in own if name.startswith(_TRUNK) and not name.startswith(_CLASSIFIER) and name not in stay_new
    ]
    shapes = [name for name in needed if name in origins and name not in fitting]
    missing = [name for name in needed if name not in origins and not name.endswith(".num_batches_tracked")]
    known = set(origins.values())
    unknown = [
        name for name in names if name not in known and name.startswith(_TRUNK) and not name.startswith(_CLASSIFIER)
    ]
    kinds = {
        "other shapes": [f"{name} {_form(names[origins[name]])} instead of {_form(own[name])}" for name in shapes],
        "missing": missing,
        "unknown": unknown,
    }
    both_stems = _STEM in shapes and names[_STEM].ndim == own[_STEM].ndim
    parts = [f"its stem is a {_stem(names)}, this network's a {_stem(own)}"] if both_stems else []
    return "; ".join(parts + [f"{title} {_first(entries)}" for title, entries in kinds.items() if entries])


def _stem(tensors: Mapping[str, Tensor]) -> str:
    channels, _, *sides = tensors[_STEM].shape
    return f"{'×'.join(map(str, sides))} convolution to {channels} channels"


def _first(names: Sequence[str]) -> str:
    """The first few names, and how many there are."""
    rest = f" … ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def _form(tensor: Tensor) -> str:
    """Shape, and type where it is no floating one: these are converted to one another, others are not."""
    kind = "" if tensor.is_floating_point() else f" {str(tensor.dtype).removeprefix('torch.')}"
    return ("×".join(map(str, tensor.shape)) or "scalar") + kind
