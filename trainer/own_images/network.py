"""Which network own images get, and with which first weights."""

from __future__ import annotations

from typing import NamedTuple

from model.published_weights import TORCHVISION, architecture_of
from model.twins import twin_of
from model.weight_sources import read_source
from trainer.pretrained import FLAG, source_for
from utils.errors import UserError

SMALL = "ResNet10Model"


class ChosenNetwork(NamedTuple):
    """A value of `arch.type`, why, and a value of `initialise.checkpoint`, or None: new weights."""

    architecture: str
    reason: str
    source: str | None


def choose_network(wanted: str | None, *, given: str | None, has_gpu: bool, model_name: str = "") -> ChosenNetwork:
    """The network for the weights that are asked for.

    Args:
        wanted: what `trainer.pretrained.wanted_source` returned.
        given: an `arch.type` that a flag set; None: it is chosen.
        has_gpu: whether there is a GPU to train on.
        model_name: what timm calls a given TimmModel.

    Raises:
        UserError: there are no such weights, or they are of no network here.
    """
    if wanted is None:
        return ChosenNetwork(given or SMALL, "small, for few images and a CPU; ResNet50Model for more of both", None)
    if given is not None:
        return ChosenNetwork(given, "given", source_for(given, wanted, model_name=model_name))
    if not wanted:
        chosen = "ResNet50Model" if has_gpu else "ResNet18Model"
        reason = "a GPU is at hand" if has_gpu else "small, for a CPU; --pretrained resnet50 for more"
        return ChosenNetwork(chosen, reason, source_for(chosen, wanted))
    if wanted.startswith(TORCHVISION):
        return ChosenNetwork(architecture_of(wanted), "what the weights are of", wanted)
    twin = twin_of(read_source(wanted))
    if twin is None:
        raise UserError(
            f"{FLAG} {wanted}: is a state dict of no network that there is here; where parts of one would fit, say "
            "which: --set arch.type=TYPE --set initialise.strict=false"
        )
    return ChosenNetwork(twin, "what the weights are of", wanted)
