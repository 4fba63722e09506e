"""State dicts to initialise a network from: files of ours and of others, and torchvision's published weights."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from model.published_weights import TIMM, TORCHVISION
from model.timm_backbone import make_timm
from utils.errors import UserError, nearest, reason_of
from utils.files.checkpoint import file_digest, read_weights
from utils.late_compiler import import_without_compiler

_MODELS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d")  # those that ours are like


def read_source(source: str) -> Mapping[str, Tensor]:
    """The state dict that a source names: a file, `torchvision:ResNet50_Weights.IMAGENET1K_V2`, or `timm:resnet18`.

    Raises:
        UserError: there is no such file or such weights, they can't be downloaded, or they are no state dict.
    """
    if source.startswith(TIMM):
        return _of_timm(source)
    return _published(source) if source.startswith(TORCHVISION) else read_weights(Path(source))


def _published(source: str) -> Mapping[str, Tensor]:
    """torchvision's weights by name; it downloads them once, into its cache, and compares their hash."""
    models = import_without_compiler("torchvision.models")  # takes seconds, and few runs need it
    choices = {str(weights): weights for model in _MODELS for weights in models.get_model_weights(model)}
    name = source.removeprefix(TORCHVISION)
    if name not in choices:  # other networks' weights are refused before hundreds of megabytes are downloaded
        raise UserError(
            f"{source}: torchvision has no such weights of a network like ours; choose one of {', '.join(choices)}"
            f"{nearest(name, choices)}"
        )
    url = choices[name].url
    _refuse_damaged_copy(source, Path(torch.hub.get_dir(), "checkpoints", PurePosixPath(url).name))
    try:
        return choices[name].get_state_dict(progress=True, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, HTTPException, RuntimeError) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise UserError(
            f"{source}: can't be downloaded ({reason.splitlines()[0]}); download {url} elsewhere and name the file "
            "(--pretrained FILE)"
        ) from None


def _of_timm(source: str) -> Mapping[str, Tensor]:
    """timm's weights of a network, without its classifier; timm downloads them once, into its cache."""
    try:
        return make_timm(source.removeprefix(TIMM), pretrained=True).state_dict()
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None
    except Exception as error:  # of whatever package it downloads with
        raise UserError(
            f"{source}: can't be downloaded ({reason_of(error)}); download its state dict elsewhere and name the file "
            "(--pretrained FILE)"
        ) from None


def _refuse_damaged_copy(source: str, copy: Path) -> None:
    """Compare a downloaded file with the hash in its name, which torchvision does only once, on the way in.

    Raises:
        UserError: they differ.
    """
    expected = copy.stem.rpartition("-")[2]
    if copy.is_file() and not file_digest(copy).startswith(expected):
        raise UserError(f"{source}: {copy} is damaged; delete it, and it is downloaded anew")
