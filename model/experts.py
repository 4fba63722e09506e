"""Several experts on a shared trunk: one builder for every network.

Shapes: `B` batch, `E` experts, `C` classes, `D` features.

    images [B, 3, H, W] → stem → shared stages → E copies of the remaining stages → pooled features [B, E, D]
                        → E classifiers → logits [B, E, C] → their plain mean: output [B, C]

Source: Sanchez Aimar et al., arXiv 2206.05260.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from model.activation_checkpointing import run_stage
from model.batch_norm import BatchNorm2d, norm_relu
from model.blocks import BlockFactory, ResidualBlock, make_stage

ModelOutput = Tensor | dict[str, Tensor]
"""What `ExpertModel.forward` returns: `output` [B, C] alone, or with each expert's logits and features."""


@dataclass(frozen=True)
class Architecture:
    """What tells one network from another. Tuples have one entry a stage; stages after the first halve the image."""

    block: BlockFactory
    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    reduced_widths: tuple[int, ...]
    num_shared: int  # leading stages that the experts share in any case
    initialise: Callable[[nn.Module], None]  # applied to every submodule
    stem_kernel: int = 7
    stem_stride: int = 2
    max_pool: bool = True


def stage_widths(
    architecture: Architecture, *, reduce_dimension: bool = False, overrides: Mapping[int, int | None] | None = None
) -> tuple[int, ...]:
    """Width of each stage; `overrides` maps a stage's number (from 1) to a width, or to None to leave it.

    Raises:
        ValueError: an override names a stage that the network does not have.
    """
    widths = list(architecture.reduced_widths if reduce_dimension else architecture.widths)
    for number, width in (overrides or {}).items():
        if width is None:
            continue
        if number > len(widths):
            raise ValueError(
                f"layer{number}_output_dim = {width}: this network has only {len(widths)} layers; leave it out"
            )
        widths[number - 1] = width
    return tuple(widths)


def count_shared_stages(architecture: Architecture, *, share_layer2: bool = False, share_layer3: bool = False) -> int:
    """How many leading stages the experts share.

    Raises:
        ValueError: stage 3 would be shared after stage 2 is not.
    """
    num_shared = max(architecture.num_shared, 2 if share_layer2 else 0)
    if not share_layer3:
        return num_shared
    if num_shared < 2:
        raise ValueError("share_layer3 needs share_layer2: experts that part in layer2 cannot meet again in layer3")
    return max(num_shared, 3)


class Backbone(nn.Module):
    """Whatever makes features of images for several experts, with a classifier for each of them.

    Args:
        num_experts: E ≥ 1.
        dropout: probability of dropping a feature before the classifier, in training.

    Attributes:
        feature_dim: D, set by subclasses.
        checkpoints_activations: in training, keep only each block's input for the backward pass, and compute the rest a
            second time there: less memory, more time, the same numbers. To be set from outside; no part of the state
            dict.
    """

    checkpoints_activations: bool = False
    feature_dim: int

    def __init__(self, num_experts: int, dropout: float) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.dropout = nn.Dropout(dropout)

    @property
    def keeps_inputs_only(self) -> bool:
        """Whether activations are checkpointed in a forward pass now."""
        return self.checkpoints_activations and self.training and torch.is_grad_enabled()

    def recomputed(self) -> list[nn.Module]:
        """What `checkpoints_activations` computes a second time, each on its own."""
        return [module for module in self.modules() if isinstance(module, ResidualBlock)]

    def expert_features(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] → pooled features [B, E, D]."""
        raise NotImplementedError

    def _register(self, name: str, make: Callable[[], nn.Module], *, shared: bool) -> None:
        """Add one module called `name`, or E of them in a list called `name` + "s"."""
        if shared or self.num_experts == 1:
            self.add_module(name, make())
        else:
            self.add_module(f"{name}s", nn.ModuleList(make() for _ in range(self.num_experts)))

    def _copies(self, name: str) -> list[nn.Module]:
        """What `_register` added: one module, or one for each expert."""
        if hasattr(self, name):
            return [getattr(self, name)]
        return list(getattr(self, f"{name}s"))

    def forward(self, images: Tensor, dropout_factors: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images [B, 3, H, W] → logits [B, E, C] and features [B, E, D], as they are before dropout.

        `dropout_factors` [B, E, D] stand for what dropout would draw by itself: 0, or 1 / (1 − its probability).
        """
        features = self.expert_features(images)
        thinned = self.dropout(features) if dropout_factors is None else features * dropout_factors
        inputs: Iterable[Tensor] = thinned.unbind(dim=1)  # [B, E, D] → E × [B, D]
        logits = [classifier(x) for classifier, x in zip(self._copies("linear"), inputs, strict=True)]
        return torch.stack(logits, dim=1), features  # E × [B, C] → [B, E, C]


class ExpertBackbone(Backbone):
    """Stem, stages and classifiers of all experts.

    A stage that all experts share is registered as `layer{n}`, one with a copy for each expert as `layer{n}s.{e}`; the
    classifiers are `linears.{e}`. With one expert they are `layer{n}` and `linear`: the names of published checkpoints.

    Args:
        architecture: the network.
        widths: width of each stage.
        num_experts: E ≥ 1.
        num_shared: the first `num_shared` stages are shared.
        make_classifier: D → a module that maps [B, D] to [B, C].
        dropout: probability of dropping a feature before the classifier, in training.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        widths: tuple[int, ...],
        num_experts: int,
        num_shared: int,
        make_classifier: Callable[[int], nn.Module],
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_experts, dropout)
        self.num_stages = len(widths)
        kernel = architecture.stem_kernel
        self.conv1 = nn.Conv2d(3, widths[0], kernel, stride=architecture.stem_stride, padding=kernel // 2, bias=False)
        self.bn1 = BatchNorm2d(widths[0])
        self.max_pool = nn.MaxPool2d(3, stride=2, padding=1) if architecture.max_pool else nn.Identity()
        channels = widths[0]
        for number, (width, num_blocks) in enumerate(zip(widths, architecture.blocks, strict=True), start=1):
            stride = 1 if number == 1 else 2
            stage = partial(make_stage, architecture.block, channels, width, num_blocks, stride)
            self._register(f"layer{number}", stage, shared=number <= num_shared)
            channels = cast(ResidualBlock, cast(nn.Sequential, self._copies(f"layer{number}")[0])[-1]).out_channels
        self.feature_dim = channels
        self._register("linear", partial(make_classifier, channels), shared=False)
        self.apply(architecture.initialise)

    def expert_features(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] → pooled features [B, E, D]."""
        x = self.max_pool(norm_relu(self.bn1, self.conv1(images)))
        checkpoints = self.keeps_inputs_only
        streams = [x]  # one tensor up to the last shared stage, one for each expert after it
        for number in range(1, self.num_stages + 1):
            copies = self._copies(f"layer{number}")
            inputs = _broadcast(streams, len(copies))
            streams = [run_stage(copy, x, checkpoints=checkpoints) for copy, x in zip(copies, inputs, strict=True)]
        pooled = [x.mean(dim=(2, 3)) for x in streams]  # [B, D, H, W] → [B, D]
        return torch.stack(_broadcast(pooled, self.num_experts), dim=1)  # E × [B, D] → [B, E, D]


def _broadcast(streams: list[Tensor], count: int) -> list[Tensor]:
    """One tensor for all becomes one (the same) for each of `count`; several stay as they are."""
    return streams * count if len(streams) == 1 else streams


class ExpertModel(nn.Module):
    """A backbone of experts whose prediction is the plain mean of their raw logits.

    Attributes:
        num_classes: C.
        num_experts: E.
        returns_feat: forward returns each expert's logits and features too.
        rescale: applied to the logits [B, E, C]; to be replaced by methods that learn something there.
        autocast: gives the region in which the network computes, whichever thread it runs in. To be set from outside;
            no part of the state dict.
    """

    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext

    def __init__(self, backbone: Backbone, *, num_classes: int, returns_feat: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_classes = num_classes
        self.num_experts = backbone.num_experts
        self.returns_feat = returns_feat
        self.rescale: nn.Module = nn.Identity()

    def expert_logits(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] → each expert's logits [B, E, C], for one expert too."""
        return self._logits_and_features(images)[0]

    def forward(self, images: Tensor, dropout_factors: Tensor | None = None) -> ModelOutput:
        """Images [B, 3, H, W] → `output` [B, C], the mean over experts; for the factors see `Backbone.forward`.

        With `returns_feat` and several experts: {"output": [B, C], "logits": [B, E, C], "feat": [B, E, D]}.
        """
        logits, features = self._logits_and_features(images, dropout_factors)
        output = logits.mean(dim=1)  # [B, E, C] → [B, C]
        if self.num_experts == 1 or not self.returns_feat:
            return output
        return {"output": output, "logits": logits, "feat": features}

    def _logits_and_features(self, images: Tensor, dropout_factors: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with self.autocast():
            logits, features = self.backbone(images, dropout_factors)
            return self.rescale(logits), features


def expert_logits_of(output: Tensor | Mapping[str, Tensor]) -> Tensor:
    """Each expert's logits [B, E, C] from what `ExpertModel.forward` returned.

    A tensor [B, C] becomes [B, 1, C]: the one expert's logits, or, of several experts without `returns_feat`, their
    mean, since that is all forward tells. `ExpertModel.expert_logits` gives them in any case, but outside of DDP.
    """
    return output.unsqueeze(1) if isinstance(output, Tensor) else output["logits"]
