"""Mixing of training images: mixup, CutMix, mixing of logits, or none, behind one interface.

λ ~ Beta(α, α) once a batch; x̃ = λx + (1−λ)x[partner] and loss = λ·L(ỹ, y) + (1−λ)·L(ỹ, y[partner]).
(mixup: Zhang et al., ICLR 2018. CutMix: Yun et al., ICCV 2019.)

`B` batch, `E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from base import Share
from base.batch_shards import groups
from utils.config.ranges import PositiveFloat, PositiveInt
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
        targets: int64, shape [B].
        partner: index of the image each was mixed with, int64, shape [B]; None where nothing was mixed.
        mix_lambda: λ, the share of an image's own target, in [0, 1].
        mixes_logits: the images are as they were, their logits are to be mixed.
    """

    images: Tensor
    targets: Tensor
    partner: Tensor | None = None
    mix_lambda: float = 1.0
    mixes_logits: bool = False

    def mix_logits(self, expert_logits: Tensor) -> Tensor:
        """The experts' logits [B, E, C], mixed if it is they that are to be."""
        if not self.mixes_logits or self.partner is None:
            return expert_logits
        return torch.lerp(expert_logits[self.partner], expert_logits, self.mix_lambda)

    def weigh(self, measure: Callable[[Tensor], Tensor]) -> Tensor:
        """λ·measure(y) + (1−λ)·measure(y[partner]), for a loss or a metric as a function of the targets [B]."""
        own = measure(self.targets)
        if self.partner is None:
            return own
        return self.mix_lambda * own + (1 - self.mix_lambda) * measure(self.targets[self.partner])


class Combiner:
    """Mixes batches as the options say; what it draws is a function of (seed, epoch, step).

    Partners come from fixed groups of the batch, so that devices that share a batch can mix without exchanging
    images; nobody is its own partner. The order of an epoch is random, so a partner is any other image.
    """

    def __init__(self, options: CombinerOptions, seed: int) -> None:
        self.options = options
        self.seed = seed

    def __call__(
        self, images: Tensor, targets: Tensor, *, epoch: int, step: int, part: Share | None = None
    ) -> MixedBatch:
        """Mix a batch, or a part of one that consists of whole groups, as it would be mixed within the whole.

        Args:
            images: float, shape [B, 3, H, W].
            targets: int64, shape [B].
            epoch: of the batch.
            step: of the batch.
            part: where these images stand in the global batch; None: they are all of it.
        """
        part = part or Share(0, len(images), len(images))
        mode, mixup = self.options.mode, self.options.mixup
        if mode == "default":
            return MixedBatch(images, targets)
        random = generator(self.seed, Stream.MIXING, epoch, step)
        if mode == "mixup_cutmix":
            mode = "mixup" if random.random() < 0.5 else "cutmix"
        alpha = mixup.alpha if mode == "mixup" else mixup.cutmix_alpha
        mix_lambda = float(random.beta(alpha, alpha))
        partners = draw_partners(random, part.total)[part.begin : part.end] - part.begin
        partner = torch.from_numpy(partners).to(images.device, non_blocking=True)
        if mixup.target_mix_strategy == "mix_logits":
            return MixedBatch(images, targets, partner, mix_lambda, mixes_logits=True)
        if mode == "mixup":
            return MixedBatch(torch.lerp(images[partner], images, mix_lambda), targets, partner, mix_lambda)
        top, bottom, left, right = cutmix_box(random, images.shape[-2], images.shape[-1], mix_lambda)
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
        kept = 1 - (bottom - top) * (right - left) / (images.shape[-2] * images.shape[-1])
        return MixedBatch(mixed, targets, partner, kept)


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
