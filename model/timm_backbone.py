"""Experts on a network of timm's: all of it but the last stage is shared; last stage and head are each expert's own.

timm is an optional extra: it is imported when such a network is built. Families that run their parts one after the
other can be cut in two: ResNet (ResNeXt, SE-ResNet, ResNet-D, … of that class), RegNet, ConvNeXt and EfficientNet. A
vision transformer hands on tokens beside those of the image, and others join what several stages have put out.

Names in the state dict: the shared parts have timm's, an expert's are `lasts.{e}.` and timm's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from io import StringIO
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from model.activation_checkpointing import run_stage
from model.experts import Backbone
from model.storage_free import without_storage
from utils.errors import nearest

FAMILIES = {"ResNet": "layer4", "RegNet": "s4", "ConvNeXt": "stages", "EfficientNet": "blocks"}
"""timm's class → the part that is the last stage, or whose last part it is."""
_STAGES = {"layer1", "layer2", "layer3", "s1", "s2", "s3", "stages", "blocks"}


def import_timm() -> ModuleType:
    """timm.

    Raises:
        ValueError: it is not installed; the line says how to.
    """
    said = StringIO()  # of packages that it could make use of, and that are not there
    try:
        with redirect_stdout(said), redirect_stderr(said):
            return import_module("timm")
    except ImportError as error:
        raise ValueError(
            f"a TimmModel needs timm ({error}): pip install timm; or, so that PyTorch surely stays as it is: pip "
            "install --no-deps timm huggingface_hub safetensors pyyaml"
        ) from None


def make_timm(model_name: str, **options: Any) -> nn.Module:
    """A network of timm's without a classifier, of a family that can be cut.

    Args:
        model_name: timm's, as in `convnext_atto` or `resnet18.a1_in1k`.
        options: of `timm.create_model`.

    Raises:
        ValueError: timm is not installed, has no such network, or it can't be cut.
    """
    timm = import_timm()
    if not timm.is_model(model_name):
        hint = nearest(model_name, timm.list_models())
        raise ValueError(f"timm {timm.__version__} has no network {model_name!r}{hint}")
    network: nn.Module = timm.create_model(model_name, num_classes=0, **options)
    if type(network).__name__ not in FAMILIES:
        raise ValueError(
            f"{model_name} is a {type(network).__name__}, which can't be shared up to its last stage; these can: "
            f"{', '.join(FAMILIES)}"
        )
    return network


class TimmBackbone(Backbone):
    """A trunk, last stages and classifiers of all experts.

    Args:
        model_name: see `make_timm`; its errors are this one's.
        num_experts: E ≥ 1.
        make_classifier: D → a module that maps [B, D] to [B, C].
        dropout: probability of dropping a feature before the classifier, in training.
    """

    def __init__(
        self,
        model_name: str,
        *,
        num_experts: int,
        make_classifier: Callable[[int], nn.Module],
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_experts, dropout)
        cuts = [_cut(make_timm(model_name)) for _ in range(num_experts)]  # each expert's part is drawn for itself
        for name, part in cuts[0][0].items():
            self.add_module(name, part)
        self.shared_names = list(cuts[0][0])
        self.lasts = nn.ModuleList(nn.Sequential(own) for _, own in cuts)
        self.feature_dim = _feature_dim(model_name)
        self._register("linear", partial(make_classifier, self.feature_dim), shared=False)

    def recomputed(self) -> list[nn.Module]:
        """The stages' parts; a stem is not, as it changes what it has put out itself."""
        stages = [getattr(self, name) for name in self.shared_names if name in _STAGES]
        return [part for whole in (*stages, *self.lasts) for part in _in_sequence(whole)]

    def expert_features(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] → pooled features [B, E, D]."""
        x, checkpoints = images, self.keeps_inputs_only
        for name in self.shared_names:
            part = _in_sequence(getattr(self, name))
            x = run_stage(part, x, checkpoints=checkpoints and name in _STAGES)
        pooled = [run_stage(_in_sequence(own), x, checkpoints=checkpoints) for own in self.lasts]
        return torch.stack(pooled, dim=1)  # E × [B, D] → [B, E, D]


def _cut(network: nn.Module) -> tuple[OrderedDict[str, nn.Module], OrderedDict[str, nn.Module]]:
    """The parts of a network before its last stage, and from there on, by their names."""
    cut = FAMILIES[type(network).__name__]
    parts = OrderedDict(network.named_children())
    place = list(parts).index(cut)
    shared = OrderedDict(list(parts.items())[:place])
    own = OrderedDict(list(parts.items())[place:])
    if cut in ("stages", "blocks"):  # a list of all stages
        stages = list(cast(nn.Sequential, parts[cut]).named_children())
        shared[cut] = nn.Sequential(OrderedDict(stages[:-1]))
        own[cut] = nn.Sequential(OrderedDict(stages[-1:]))
    return shared, own


def _in_sequence(part: nn.Module) -> nn.Sequential:
    """A part as what runs one after the other."""
    return part if isinstance(part, nn.Sequential) else nn.Sequential(part)


def _feature_dim(model_name: str) -> int:
    """D of a network, from the shape of what it makes of an image without values."""
    with without_storage():
        network = make_timm(model_name).eval()
        return int(network(torch.empty(1, 3, 224, 224)).shape[1])
