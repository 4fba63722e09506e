"""Mixing, against the formulas written out: partners, λ, boxes, and what becomes of images, logits and losses."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from base import Step
from model.targets import MixedTargets
from tests.trainer.small_runs import small_config
from trainer.build import build_combiner
from trainer.config.run_config import run_config
from trainer.methods import mixing
from trainer.methods.mixing import Combiner, CombinerOptions, MixedBatch, MixupOptions, cutmix_box, draw_partners
from utils.config.parser import ConfigParser

B, E, C = 16, 3, 5


def combiner(mode: str, *, seed: int = 1, **mixup: Any) -> Combiner:
    return Combiner(CombinerOptions(mode=mode, mixup=MixupOptions(**mixup)), seed)


def batch(size: int = B, side: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(size)
    images = torch.randn(size, 3, side, side, generator=random)
    return images, torch.randint(C, (size,), generator=random)


class FixedDraws:
    """Draws λ and the box's centre as told; everything else as NumPy's generator does."""

    def __init__(self, mix_lambda: float = 0.5, centre: tuple[int, int] = (0, 0)) -> None:
        self._random = np.random.default_rng(0)
        self._lambda, self._centre = mix_lambda, iter(centre)

    def beta(self, a: float, b: float) -> float:
        return self._lambda

    def integers(self, high: int) -> int:
        return next(self._centre)

    def random(self, *size: int) -> Any:
        return self._random.random(*size)


def fix_draws(monkeypatch: pytest.MonkeyPatch, **draws: Any) -> None:
    monkeypatch.setattr(mixing, "generator", lambda *counters: FixedDraws(**draws))


# -- λ = 1 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "strategy"), [("mixup", "mix_input"), ("cutmix", "mix_input"), ("mixup", "mix_logits")]
)
def test_lambda_one_changes_neither_images_nor_logits_nor_losses(
    monkeypatch: pytest.MonkeyPatch, mode: str, strategy: str
) -> None:
    fix_draws(monkeypatch, mix_lambda=1.0)
    images, targets = batch()
    logits = torch.randn(B, E, C)
    mixed = combiner(mode, target_mix_strategy=strategy)(images, targets, Step(1, 0))
    assert mixed.partner is not None
    assert mixed.targets.mix_lambda == 1.0
    assert torch.equal(mixed.images, images)
    assert torch.equal(mixed.mix_logits(logits), logits)
    assert torch.equal(
        mixed.targets.weigh(lambda y: F.cross_entropy(logits[:, 0], y)), F.cross_entropy(logits[:, 0], targets)
    )


def test_mode_default_hands_the_batch_through() -> None:
    images, targets = batch()
    mixed = combiner("default")(images, targets, Step(1, 0))
    assert mixed.images is images
    assert mixed.targets.own is targets
    assert mixed.targets.weigh(lambda y: y.sum()) == targets.sum()


# -- formulas ---------------------------------------------------------------------------------------------------------


def test_mixup_is_lambda_x_plus_one_minus_lambda_x_of_the_partner() -> None:
    images, targets = batch()
    before = images.clone()
    mixed = combiner("mixup", alpha=0.8)(images, targets, Step(2, 3))
    share, partner = mixed.targets.mix_lambda, mixed.partner.tolist()
    assert 0 < share < 1
    for i in range(B):
        expected = share * before[i] + (1 - share) * before[partner[i]]
        torch.testing.assert_close(mixed.images[i], expected, rtol=0, atol=1e-6)
    assert torch.equal(images, before), "the batch that was given is left as it was"


def test_loss_and_metric_are_weighed_by_lambda() -> None:
    partner = torch.tensor([1, 2, 0])
    mixed = MixedTargets(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 1])[partner], mix_lambda=0.75)
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    # own labels 0 1 1: −(ln .5 + ln .8 + ln .2)/3; partners' 1 1 0: −(ln .25 + ln .8 + ln .2)/3
    own = -(np.log(0.5) + np.log(0.8) + np.log(0.2)) / 3
    partners = -(np.log(0.25) + np.log(0.8) + np.log(0.2)) / 3
    loss = mixed.weigh(lambda y: F.cross_entropy(probabilities.log(), y))
    assert loss.item() == pytest.approx(0.75 * own + 0.25 * partners, abs=1e-6)
    # predictions 0 1 2: two of the own labels are met, one of the partners'
    hits = mixed.weigh(lambda y: (probabilities.argmax(1) == y).float().mean())
    assert hits.item() == pytest.approx(0.75 * 2 / 3 + 0.25 * 1 / 3, abs=1e-6)


def test_mix_logits_leaves_the_images_and_mixes_each_experts_logits() -> None:
    images, targets = batch()
    mixed = combiner("mixup", alpha=1.0, target_mix_strategy="mix_logits")(images, targets, Step(1, 1))
    assert torch.equal(mixed.images, images)
    logits = torch.randn(B, E, C, requires_grad=True)
    share = mixed.targets.mix_lambda
    result = mixed.mix_logits(logits)
    for i, j in enumerate(mixed.partner.tolist()):
        torch.testing.assert_close(result[i], share * logits[i] + (1 - share) * logits[j], rtol=0, atol=1e-6)
    result.sum().backward()  # every image is once itself and once a partner: λ + (1 − λ)
    torch.testing.assert_close(logits.grad, torch.ones_like(logits))


def test_mix_input_leaves_the_logits() -> None:
    images, targets = batch()
    logits = torch.randn(B, E, C)
    assert torch.equal(combiner("mixup")(images, targets, Step(1, 0)).mix_logits(logits), logits)


# -- CutMix -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(12))
def test_cutmix_lambda_is_the_share_of_pixels_that_were_kept(step: int) -> None:
    height, width = 12, 20
    images = torch.arange(B, dtype=torch.float32).view(B, 1, 1, 1).expand(B, 3, height, width)
    mixed = combiner("cutmix", cutmix_alpha=1.0)(images, torch.arange(B), Step(1, step))
    pasted = mixed.images != images
    assert torch.equal(pasted, pasted[:1, :1].expand_as(pasted)), "one box for the whole batch"
    assert mixed.targets.mix_lambda == pytest.approx(1 - pasted[0, 0].sum().item() / (height * width), abs=1e-12)
    partners = mixed.partner.float().view(B, 1, 1, 1).expand_as(images)
    assert torch.equal(mixed.images[pasted], partners[pasted])
    rows, columns = pasted[0, 0].any(1).nonzero(), pasted[0, 0].any(0).nonzero()
    if len(rows):  # what was pasted is a full rectangle
        area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert area == pasted[0, 0].sum()


@pytest.mark.parametrize(
    ("mix_lambda", "centre", "box"),
    [
        (0.75, (20, 30), (10, 30, 15, 45)),  # √(1 − ¾) = ½ of 40 × 60, about the middle
        (0.19, (20, 30), (2, 38, 3, 57)),  # √.81 = .9
        (0.75, (0, 59), (0, 10, 44, 60)),  # cut off above and to the right
        (1.0, (20, 30), (20, 20, 30, 30)),  # nothing
        (0.0, (20, 30), (0, 40, 0, 60)),  # everything
    ],
)
def test_cutmix_box_has_sides_of_the_root_of_one_minus_lambda(
    mix_lambda: float, centre: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    assert cutmix_box(FixedDraws(centre=centre), 40, 60, mix_lambda) == box


def test_cutmix_centres_are_spread_over_the_whole_image() -> None:
    random = np.random.default_rng(3)
    corners = [cutmix_box(random, 10, 10, 1.0) for _ in range(4000)]  # an empty box lies at its centre
    for axis in (0, 2):
        counts = np.bincount([box[axis] for box in corners], minlength=10)
        assert stats.chisquare(counts).pvalue > 1e-3


# -- partners ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [*range(2, 40), 63, 64, 65, 127, 128, 129, 130, 143, 200, 257, 512])
def test_everybody_is_somebodys_partner_once_and_nobody_is_its_own(size: int) -> None:
    random = np.random.default_rng(size)
    for _ in range(3):
        partners = draw_partners(random, size)
        assert sorted(partners) == list(range(size))
        assert (partners != np.arange(size)).all()


def test_a_single_image_is_left_to_itself() -> None:
    assert draw_partners(np.random.default_rng(0), 1).tolist() == [0]
    images, targets = batch(1)
    mixed = combiner("mixup")(images, targets, Step(1, 0))
    torch.testing.assert_close(mixed.images, images)


def groups_of(size: int, draws: int = 60) -> list[list[int]]:
    """Who ever meets whom, over many draws: the connected components."""
    random = np.random.default_rng(size)
    members = {i: {i} for i in range(size)}
    for _ in range(draws):
        for i, j in enumerate(draw_partners(random, size).tolist()):
            if members[i] is not members[j]:
                members[i] |= members[j]
                for k in members[j]:
                    members[k] = members[i]
    return sorted({id(group): sorted(group) for group in members.values()}.values())


@pytest.mark.parametrize("size", [16, 17, 23, 24, 31, 33, 64, 100, 127, 128, 129, 137])
def test_partners_stay_in_fixed_neighbourhoods_at_least_eight_of_them(size: int) -> None:
    groups = groups_of(size)
    assert len(groups) >= 8
    assert [i for group in groups for i in group] == list(range(size)), "each group is a stretch of the batch"


def test_every_other_member_of_a_group_is_equally_likely() -> None:
    random = np.random.default_rng(5)
    met = collections.Counter(int(draw_partners(random, 128)[0]) for _ in range(3000))
    assert 0 not in met
    assert len(met) == 15  # groups of 16
    assert stats.chisquare(list(met.values())).pvalue > 1e-3


# -- randomness -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.2, 0.4, 0.8, 1.0])
def test_mixup_lambda_follows_the_beta_distribution(alpha: float) -> None:
    images, targets = batch(2, 1)
    mix = combiner("mixup", alpha=alpha, cutmix_alpha=7.0)
    drawn = [mix(images, targets, Step(1, step)).targets.mix_lambda for step in range(1500)]
    assert stats.kstest(drawn, stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_cutmix_lambda_before_clipping_follows_its_own_beta_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []

    def remember(random: Any, height: int, width: int, mix_lambda: float) -> tuple[int, int, int, int]:
        drawn.append(mix_lambda)
        return (0, 0, 0, 0)

    monkeypatch.setattr(mixing, "cutmix_box", remember)
    images, targets = batch(2, 1)
    mix = combiner("cutmix", alpha=7.0, cutmix_alpha=0.5)
    for step in range(1500):
        mix(images, targets, Step(1, step))
    assert stats.kstest(drawn, stats.beta(0.5, 0.5).cdf).pvalue > 0.01


def test_mixup_cutmix_is_either_with_probability_one_half_and_its_own_alpha(monkeypatch: pytest.MonkeyPatch) -> None:
    # α = 1e6 pins λ to ½ for mixup and CutMix's tiny one drives it to the ends
    boxes: list[float] = []

    def remember(random: Any, height: int, width: int, mix_lambda: float) -> tuple[int, int, int, int]:
        boxes.append(mix_lambda)
        return (0, 0, 0, 0)

    monkeypatch.setattr(mixing, "cutmix_box", remember)
    images, targets = batch(2, 1)
    mix = combiner("mixup_cutmix", alpha=1e6, cutmix_alpha=1e-3)
    steps = 1000
    halves = sum(0.49 < mix(images, targets, Step(1, step)).targets.mix_lambda < 0.51 for step in range(steps))
    assert halves + len(boxes) == steps
    assert stats.binomtest(halves, steps, 0.5).pvalue > 1e-3
    assert np.mean([min(share, 1 - share) < 0.01 for share in boxes]) > 0.95


def mix_of(seed: int, epoch: int, step: int, mode: str) -> tuple[float, list[int], torch.Tensor]:
    images, targets = batch(64)
    mixed = combiner(mode, seed=seed)(images, targets, Step(epoch, step))
    return mixed.targets.mix_lambda, mixed.partner.tolist(), mixed.images


@pytest.mark.parametrize("mode", ["mixup", "cutmix", "mixup_cutmix"])
def test_the_mix_is_a_function_of_seed_epoch_and_step(mode: str) -> None:
    first = mix_of(1, 2, 3, mode)
    torch.manual_seed(99)
    np.random.seed(99)
    again = mix_of(1, 2, 3, mode)
    assert first[:2] == again[:2]
    assert torch.equal(first[2], again[2])
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4), (1, 3, 2)):
        share, partners, _ = mix_of(*other, mode)
        assert share != first[0]
        assert partners != first[1]


# -- which combiner when ----------------------------------------------------------------------------------------------


def mixed_in(epoch: int, config: dict[str, Any]) -> MixedBatch:
    combine = build_combiner(run_config(ConfigParser(config, source="a test")))
    return combine(*batch(), Step(epoch, 0))


def test_finetuning_combiner_takes_over_from_its_first_epoch() -> None:
    config = small_config(finetuning_combiner={"type": "Combiner", "mode": "default", "initial_epoch": 3})
    assert [mixed_in(epoch, config).partner is None for epoch in (1, 2, 3, 4)] == [False, False, True, True]


def test_without_a_finetuning_combiner_there_is_one_for_all_epochs() -> None:
    assert all(mixed_in(epoch, small_config()).partner is not None for epoch in (1, 1000))


def test_without_a_combiner_section_nothing_is_mixed() -> None:
    config = small_config()
    del config["combiner"]
    assert mixed_in(1, config).partner is None
