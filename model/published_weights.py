"""Which of torchvision's published weights are of networks like ours, by their names alone: known without PyTorch."""

from __future__ import annotations

TORCHVISION = "torchvision:"
TIMM = "timm:"
PUBLISHED = {
    "ResNet18Model": "ResNet18_Weights.IMAGENET1K_V1",
    "ResNet50Model": "ResNet50_Weights.IMAGENET1K_V2",
    "ResNet101Model": "ResNet101_Weights.IMAGENET1K_V2",
    "ResNet152Model": "ResNet152_Weights.IMAGENET1K_V2",
    "ResNeXt50Model": "ResNeXt50_32X4D_Weights.IMAGENET1K_V2",
}
"""`arch.type` → the newest weights of exactly this trunk; a ResNet34Model has another stem than torchvision's."""


def _model_of(weights: str) -> str:
    """torchvision's name of the network that weights are of: `ResNet50_Weights.IMAGENET1K_V2` → `resnet50`."""
    return weights.partition("_Weights.")[0].lower()


MODELS = {_model_of(weights): kind for kind, weights in PUBLISHED.items()}
"""torchvision's name of a network → `arch.type`."""


def published_weights(name: str) -> str | None:
    """The source that a network's or some weights' name means, for `initialise.checkpoint`; None: they are not ours.

    Args:
        name: `resnet50`, `ResNet50_Weights.IMAGENET1K_V2`, or the same behind `torchvision:`.
    """
    name = name.removeprefix(TORCHVISION)
    if name.lower() in MODELS:
        return TORCHVISION + PUBLISHED[MODELS[name.lower()]]
    return TORCHVISION + name if "_Weights." in name and _model_of(name) in MODELS else None


def architecture_of(source: str) -> str:
    """The `arch.type` of a source that `published_weights` returned."""
    return MODELS[_model_of(source.removeprefix(TORCHVISION))]
