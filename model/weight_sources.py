"""State dicts to initialise a network from: files of ours and of others, and torchvision's published weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

from torch import Tensor
from torchvision.models import get_model_weights, get_weight, list_models

from utils.errors import UserError, nearest
from utils.files.checkpoint import read_weights

TORCHVISION = "torchvision:"
_FAMILIES = ("resnet", "resnext")


def read_source(source: str) -> Mapping[str, Tensor]:
    """The state dict that a source names: a file, or `torchvision:ResNet50_Weights.IMAGENET1K_V2`.

    Raises:
        UserError: there is no such file or such weights, they can't be downloaded, or they are no state dict.
    """
    return _published(source) if source.startswith(TORCHVISION) else read_weights(Path(source))


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
