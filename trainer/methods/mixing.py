"""Mixing of training images: mixup, CutMix, mixing of logits, or none, behind one interface.

λ ~ Beta(α, α) once a batch; x̃ = λx + (1−λ)x[partner] and loss = λ·L(ỹ, y) + (1−λ)·L(ỹ, y[partner]).
(mixup: Zhang et al., ICLR 2018. CutMix: Yun et al., ICCV 2019.)

`B` batch, `E` experts, `C` classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from base import BatchShard, Step
from base.batch_shards import groups
from model.targets import MixedTargets
from utils.config.ranges import PositiveFloat, PositiveInt
from utils.device_copies import to_device
from utils.random_streams import Stream, generator


@dataclass(frozen=True, kw_only=True)
class MixupOptions:
    """Section `combiner.mixup`.

    Args:
        alpha: α of mixup's Beta(α, α).
        cutmix_alpha: α of CutMix's.
        target_mix_strategy: `mix_input` mixes the images; `mix_logits` leaves them as they are and mixes the
            experts' logits, z̃ = λ·z(x) + (1−λ)·z(x[partner]).
    """

    alpha: PositiveFloat = 1.0
    cutmix_alpha: PositiveFloat = 1.0
    target_mix_strategy: Literal["mix_input", "mix_logits"] = "mix_input"


@dataclass(frozen=True, kw_only=True)
class CombinerOptions:
    """Section `combiner`.

    Args:
        type: there is one.
        mode: what to mix; "default" mixes nothing; "mixup_cutmix" is one or the other with probability ½.
        mixup: its parameters.
    """

    type: Literal["Combiner"] = "Combiner"
    mode: Literal["default", "mixup", "cutmix", "mixup_cutmix"] = "default"
    mixup: MixupOptions = field(default_factory=MixupOptions)


@dataclass(frozen=True, kw_only=True)
class FinetuningCombinerOptions(CombinerOptions):
    """Section `finetuning_combiner`: replaces `combiner` from `initial_epoch` on (counted from 1)."""

    initial_epoch: PositiveInt


@dataclass(frozen=True)
class MixedBatch:
    """A batch after mixing.

    Attributes:
        images: float, shape [B, 3, H, W].
        targets: mixed as the images are.
        partner: index of the image each was mixed with, int64, shape [B]; None where nothing was mixed.
        mixes_logits: the images are as they were, their logits are to be mixed.
    """

    images: Tensor
    targets: MixedTargets
    partner: Tensor | None = None
    mixes_logits: bool = False

    def mix_logits(self, expert_logits: Tensor) -> Tensor:
        """The experts' logits [B, E, C], mixed if it is they that are to be."""
        if self.partner is None or not self.mixes_logits:
            return expert_logits
        return torch.lerp(expert_logits[self.partner], expert_logits, self.targets.mix_lambda)


class Combiner:
    """Mixes batches as the options say; what it draws is a function of (seed, epoch, step).

    Partners come from fixed groups of the batch, so that devices that share a batch can mix without exchanging
    images; nobody is its own partner. The order of an epoch is random, so a partner is any other image.

    Args:
        options: section `combiner`.
        seed: the run's seed.
        finetuning: section `finetuning_combiner`, which takes over from its first epoch on.
    """

    def __init__(
        self, options: CombinerOptions, seed: int, finetuning: FinetuningCombinerOptions | None = None
    ) -> None:
        self.options = options
        self.seed = seed
        self.finetuning = finetuning

    def __call__(self, images: Tensor, targets: Tensor, step: Step, shard: BatchShard | None = None) -> MixedBatch:
        """Mix a batch, or a shard of one, which consists of whole groups, as it would be mixed within the whole.

        Args:
            images: float, shape [B, 3, H, W].
            targets: int64, shape [B].
            step: whose batch it is.
            shard: where these images stand in the global batch; None: they are all of it.
        """
        options, shard = self._options_of(step.epoch), shard or BatchShard(0, len(images), len(images))
        mode, mixup = options.mode, options.mixup
        if mode == "default":
            return MixedBatch(images, MixedTargets(targets))
        random = generator(self.seed, Stream.MIXING, step.epoch, step.index)
        if mode == "mixup_cutmix":
            mode = "mixup" if random.random() < 0.5 else "cutmix"
        alpha = mixup.alpha if mode == "mixup" else mixup.cutmix_alpha
        mix_lambda = float(random.beta(alpha, alpha))
        # drawn for the global batch, so that it does not depend on how that is cut; indices count within the shard
        partners = draw_partners(random, shard.total)[shard.begin : shard.end] - shard.begin
        partner = to_device(partners, images.device)
        if mode == "cutmix":
            images, mix_lambda = paste_box(random, images, partner, mix_lambda)
        mixed_targets = MixedTargets(targets, targets[partner], mix_lambda)
        if mixup.target_mix_strategy == "mix_logits":
            return MixedBatch(images, mixed_targets, partner, mixes_logits=True)
        if mode == "mixup":
            images = torch.lerp(images[partner], images, mix_lambda)
        return MixedBatch(images, mixed_targets, partner)

    def _options_of(self, epoch: int) -> CombinerOptions:
        if self.finetuning is not None and epoch >= self.finetuning.initial_epoch:
            return self.finetuning
        return self.options


def paste_box(random: np.random.Generator, images: Tensor, partner: Tensor, mix_lambda: float) -> tuple[Tensor, float]:
    """CutMix: images [B, 3, H, W] with a box of their partners' pixels each, and λ as the clipped box makes it."""
    height, width = images.shape[-2:]
    top, bottom, left, right = cutmix_box(random, height, width, mix_lambda)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def draw_partners(random: np.random.Generator, batch_size: int) -> np.ndarray:
    """A partner for each image of a batch: a random cycle through each group; int64, shape [B]."""
    partners = np.empty(batch_size, np.int64)
    for begin, end in groups(batch_size):
        cycle = begin + np.argsort(random.random(end - begin), kind="stable")
        partners[cycle] = np.roll(cycle, -1)
    return partners


def cutmix_box(random: np.random.Generator, height: int, width: int, mix_lambda: float) -> tuple[int, int, int, int]:
    """CutMix's box (top, bottom, left, right): sides √(1−λ) of the image's, centre uniform, clipped at the edges."""
    side = np.sqrt(1 - mix_lambda)
    box: list[int] = []
    for length in (height, width):
        half, centre = int(length * side) // 2, int(random.integers(length))
        box += [max(centre - half, 0), min(centre + half, length)]
    return box[0], box[1], box[2], box[3]
