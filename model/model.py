"""The networks a configuration can name as `arch.type`.

A class is an architecture. The constructor is written once: its signature is the schema of `arch.args`, the same for
every network, as published configurations share it. (Annotations stay objects here, for whoever inspects the
signature.)
"""

import math
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar

from torch import nn

from model.blocks import BasicBlock, Bottleneck, CifarBlockA, CifarBlockB
from model.classifiers import make_classifier
from model.experts import Architecture, ExpertBackbone, ExpertModel, count_shared_stages, stage_widths
from model.timm_backbone import TimmBackbone
from utils.config.ranges import Fraction, PositiveFloat, PositiveInt, Range

__all__ = [
    "ResNeXt50Model",
    "ResNeXt152Model",
    "ResNet10Model",
    "ResNet18Model",
    "ResNet32Model",
    "ResNet32Model_B",
    "ResNet34Model",
    "ResNet50Model",
    "ResNet101Model",
    "ResNet152Model",
    "TimmModel",
]


def initialise_cifar(module: nn.Module) -> None:
    """He et al.'s normal initialisation of convolutions and linear classifiers."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)


def initialise_imagenet(module: nn.Module) -> None:
    """Convolutions from N(0, √(2/(k·k·out))); BatchNorm starts at 1 and 0, as PyTorch builds it."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=math.sqrt(2 / (math.prod(module.kernel_size) * module.out_channels)))


CIFAR = Architecture(
    block=CifarBlockA,
    blocks=(5, 5, 5),
    widths=(16, 32, 64),
    reduced_widths=(16, 24, 48),
    num_shared=1,
    initialise=initialise_cifar,
    stem_kernel=3,
    stem_stride=1,
    max_pool=False,
)
IMAGENET = Architecture(
    block=Bottleneck,
    blocks=(3, 4, 6, 3),
    widths=(64, 128, 256, 512),
    reduced_widths=(64, 128, 192, 384),
    num_shared=2,
    initialise=initialise_imagenet,
)
RESNEXT = replace(IMAGENET, block=partial(Bottleneck, groups=32, group_width=4))


class ExpertsModel(ExpertModel):
    """A network of experts built from the class's architecture.

    Args:
        num_classes: C.
        num_experts: E.
        use_norm: cosine classifiers instead of linear ones.
        reduce_dimension: the architecture's reduced widths.
        layer2_output_dim: width of the second stage (a bottleneck puts out four times it); default the architecture's.
        layer3_output_dim: the same for the third stage.
        layer4_output_dim: the same for the fourth stage; the CIFAR networks have none.
        share_layer2: the experts share the second stage (the ImageNet networks always do).
        share_layer3: the experts share the third stage.
        returns_feat: forward returns each expert's logits and features too.
        s: scale of the cosine classifier; linear ones have none.
        dropout: probability of dropping a feature before the classifier in training; None is 0.

    Raises:
        ValueError: arguments without a meaning for this network.
    """

    architecture: ClassVar[Architecture]

    def __init__(
        self,
        *,
        num_classes: PositiveInt,
        num_experts: Annotated[int, Range(low=1, high=100)] = 1,
        use_norm: bool = False,
        reduce_dimension: bool = False,
        layer2_output_dim: PositiveInt | None = None,
        layer3_output_dim: PositiveInt | None = None,
        layer4_output_dim: PositiveInt | None = None,
        share_layer2: bool = False,
        share_layer3: bool = False,
        returns_feat: bool = False,
        s: PositiveFloat = 30.0,
        dropout: Fraction | None = None,
    ) -> None:
        overrides = {2: layer2_output_dim, 3: layer3_output_dim, 4: layer4_output_dim}
        backbone = ExpertBackbone(
            self.architecture,
            widths=stage_widths(self.architecture, reduce_dimension=reduce_dimension, overrides=overrides),
            num_experts=num_experts,
            num_shared=count_shared_stages(self.architecture, share_layer2=share_layer2, share_layer3=share_layer3),
            make_classifier=partial(make_classifier, num_classes=num_classes, use_norm=use_norm, scale=s),
            dropout=dropout or 0.0,
        )
        super().__init__(backbone, num_classes=num_classes, returns_feat=returns_feat)


class ResNet32Model(ExpertsModel):
    """ResNet-32 for 32×32 images, parameter-free shortcuts (A)."""

    architecture = CIFAR


class ResNet32Model_B(ExpertsModel):
    """ResNet-32 for 32×32 images, projection shortcuts (B)."""

    architecture = replace(CIFAR, block=CifarBlockB)


class ResNet10Model(ExpertsModel):
    """ResNet-10 of basic blocks."""

    architecture = replace(IMAGENET, block=BasicBlock, blocks=(1, 1, 1, 1))


class ResNet18Model(ExpertsModel):
    """ResNet-18 of basic blocks, as torchvision has it: for its published weights."""

    architecture = replace(IMAGENET, block=BasicBlock, blocks=(2, 2, 2, 2))


class ResNet34Model(ExpertsModel):
    """ResNet-34 of basic blocks, with a 3×3 stem of stride 1."""

    architecture = replace(IMAGENET, block=BasicBlock, stem_kernel=3, stem_stride=1)


class ResNet50Model(ExpertsModel):
    """ResNet-50."""

    architecture = IMAGENET


class ResNet101Model(ExpertsModel):
    """ResNet-101."""

    architecture = replace(IMAGENET, blocks=(3, 4, 23, 3))


class ResNet152Model(ExpertsModel):
    """ResNet-152."""

    architecture = replace(IMAGENET, blocks=(3, 8, 36, 3))


class ResNeXt50Model(ExpertsModel):
    """ResNeXt-50, 32 groups of width 4."""

    architecture = RESNEXT


class ResNeXt152Model(ExpertsModel):
    """ResNeXt-152, 32 groups of width 4."""

    architecture = replace(RESNEXT, blocks=(3, 8, 36, 3))


class TimmModel(ExpertModel):
    """Experts on a network of timm's (an optional extra): last stage and head are each expert's own.

    Args:
        num_classes: C.
        model_name: timm's, of a ResNet, RegNet, ConvNeXt or EfficientNet: `convnext_atto`, `resnet18.a1_in1k`.
        num_experts: E.
        use_norm: cosine classifiers instead of linear ones.
        returns_feat: forward returns each expert's logits and features too.
        s: scale of the cosine classifier; linear ones have none.
        dropout: probability of dropping a feature before the classifier in training; None is 0.

    Raises:
        ValueError: timm is not installed, has no such network, or it can't be cut before its last stage.
    """

    def __init__(
        self,
        *,
        num_classes: PositiveInt,
        model_name: str,
        num_experts: Annotated[int, Range(low=1, high=100)] = 1,
        use_norm: bool = False,
        returns_feat: bool = False,
        s: PositiveFloat = 30.0,
        dropout: Fraction | None = None,
    ) -> None:
        backbone = TimmBackbone(
            model_name,
            num_experts=num_experts,
            make_classifier=partial(make_classifier, num_classes=num_classes, use_norm=use_norm, scale=s),
            dropout=dropout or 0.0,
        )
        super().__init__(backbone, num_classes=num_classes, returns_feat=returns_feat)
