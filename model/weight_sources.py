"""State dicts to initialise a network from: files of ours and of others, and torchvision's published weights."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor
from torchvision.models import get_model_weights, get_weight, list_models

from utils.errors import UserError, nearest
from utils.files.checkpoint import CheckpointError, load_checkpoint

TORCHVISION = "torchvision:"
_FAMILIES = ("resnet", "resnext")


def read_source(source: str) -> Mapping[str, Tensor]:
    """The state dict that a source names: a file, or `torchvision:ResNet50_Weights.IMAGENET1K_V2`.

    Raises:
        UserError: there is no such file or such weights, they can't be downloaded, or they are no state dict.
    """
    return _published(source) if source.startswith(TORCHVISION) else _from_file(Path(source))


def _published(source: str) -> Mapping[str, Tensor]:
    """torchvision's weights by name; it downloads them once and compares their hash."""
    name = source.removeprefix(TORCHVISION)
    try:
        weights = get_weight(name)
    except (ValueError, AttributeError, KeyError):
        names = _published_names()
        listed = f"choose one of {', '.join(names)}{nearest(name, names)}"
        raise UserError(f"{source}: torchvision has no such weights; {listed}") from None
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"{source}: can't be downloaded ({error}); download {weights.url} elsewhere and name the file"
        ) from None


def _published_names() -> list[str]:
    """Names of the weights of torchvision's networks that ours are like."""
    models = [name for name in list_models() if name.startswith(_FAMILIES)]
    return [str(weights) for name in models for weights in get_model_weights(name)]


def _from_file(path: Path) -> Mapping[str, Tensor]:
    """The state dict of a checkpoint, or the file's own content where that is one."""
    try:
        return load_checkpoint(path)["state_dict"]
    except CheckpointError as error:
        if "holds no 'state_dict'" not in str(error):
            raise
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError) as error:
        raise UserError(f"{path}: can't be read as weights: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path}: neither a checkpoint nor a state dict (names of tensors)")
    return content
