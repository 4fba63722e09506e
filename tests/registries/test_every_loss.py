"""Every loss: built as a run builds it, finite, the same whatever classes are called and however a batch is cut."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import model.losses as losses
from data_loader.loader import ImageDataLoader
from model.losses.base import ExpertLoss
from model.targets import MixedTargets
from tests.registries.entries import LOSSES, example_arguments
from tests.trainer.small_runs import small_config
from trainer.build import build_criterion, training_context
from trainer.config.components import LOSS
from trainer.config.run_config import RunConfig, find_problems, run_config
from trainer.loaders import build_loader
from utils.config.parser import ConfigParser

C, B = 10, 12
LABELS = torch.tensor([0, 9, 3, 3, 1, 8, 0, 7, 2, 5, 0, 4])  # 6 is no image's class
PARTNERS = LABELS.roll(5)
TARGETS = {"unmixed": MixedTargets(LABELS), "mixed": MixedTargets(LABELS, PARTNERS, 0.3)}


class Built(NamedTuple):
    """A loss in the middle of a run, and how another run's would be built."""

    criterion: ExpertLoss
    logits: Tensor  # [E, B, C]
    with_classes_renamed: Callable[[Tensor], ExpertLoss]


@pytest.fixture(scope="module")
def digits() -> ImageDataLoader:
    return build_loader(configuration(LOSSES[0], 1))


def configuration(name: str, num_experts: int) -> RunConfig:
    arguments = example_arguments(LOSS, name, tau_list=[0.0, 1.0, 2.0][:num_experts])
    plain = small_config(loss={"type": name, "args": arguments}, arch__args__num_experts=num_experts)
    assert find_problems(plain) == []
    return run_config(ConfigParser(plain, source="a test"))


@pytest.fixture(
    scope="module",
    params=[(name, experts) for name in LOSSES for experts in (1, 3)],
    ids=lambda pair: f"{pair[0]}-{pair[1]}",
)
def built(request: pytest.FixtureRequest, digits: ImageDataLoader) -> Built:
    name, num_experts = request.param
    config = configuration(name, num_experts)
    context = training_context(config, digits)

    def build(changes: Mapping[str, Any]) -> ExpertLoss:
        torch.manual_seed(0)
        criterion = build_criterion(config, {**context, **changes})
        criterion.start_epoch(1)
        return criterion

    def renamed(order: Tensor) -> ExpertLoss:
        counts = [digits.cls_num_list[old] for old in order]
        return build({"class_counts": counts, "cls_num_list": counts, "training_prior": np.array(counts) / sum(counts)})

    logits = 3 * torch.randn(num_experts, B, C, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Built(build({}), logits, renamed)


def value(criterion: ExpertLoss, logits: Tensor, targets: MixedTargets) -> Tensor:
    """The loss as the training step asks for it, of logits [E, B, C]."""
    loss = criterion(logits.mean(dim=0), targets, {"logits": logits})
    assert isinstance(loss, Tensor)
    return loss


def part(targets: MixedTargets, images: slice | Tensor) -> MixedTargets:
    partners = None if targets.partners is None else targets.partners[images]
    return MixedTargets(targets.own[images], partners, targets.mix_lambda)


every_mixing = pytest.mark.parametrize("mixing", TARGETS)


def test_a_configuration_may_name_whatever_is_listed() -> None:
    assert losses.__all__ == LOSSES


@every_mixing
def test_it_is_finite_and_falls_along_its_gradient(built: Built, mixing: str) -> None:
    logits, targets = built.logits.clone().requires_grad_(), TARGETS[mixing]
    loss = value(built.criterion, logits, targets)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.shape == ()
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert (gradient.abs().amax(dim=(1, 2)) > 0).all(), "every expert learns"
    assert value(built.criterion, logits - 1e-3 * gradient, targets) < loss


def test_it_is_finite_for_logits_that_are_sure_and_wrong(built: Built) -> None:
    logits = torch.zeros_like(built.logits, dtype=torch.float32)
    logits[:, torch.arange(B), (LABELS + 1) % C] = 80.0
    logits.requires_grad_()
    loss = value(built.criterion, logits, TARGETS["mixed"])
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


@every_mixing
def test_what_classes_are_called_does_not_matter(built: Built, mixing: str) -> None:
    targets, order = TARGETS[mixing], torch.randperm(C, generator=torch.Generator().manual_seed(2))
    new_label = torch.argsort(order)  # new class i is old class order[i]
    partners = None if targets.partners is None else new_label[targets.partners]
    renamed = MixedTargets(new_label[targets.own], partners, targets.mix_lambda)
    found = value(built.with_classes_renamed(order), built.logits[:, :, order], renamed)
    torch.testing.assert_close(found, value(built.criterion, built.logits, targets))


@every_mixing
def test_the_order_of_images_does_not_matter(built: Built, mixing: str) -> None:
    order = torch.randperm(B, generator=torch.Generator().manual_seed(3))
    found = value(built.criterion, built.logits[:, order], part(TARGETS[mixing], order))
    torch.testing.assert_close(found, value(built.criterion, built.logits, TARGETS[mixing]))


@every_mixing
def test_of_a_batch_it_is_the_weighted_mean_of_its_parts(built: Built, mixing: str) -> None:
    """Else micro-batches and processes would train something else than whole batches do."""
    parts = [slice(0, 5), slice(5, 6), slice(6, B)]
    weighted = [
        (images.stop - images.start)
        / B
        * value(built.criterion, built.logits[:, images], part(TARGETS[mixing], images))
        for images in parts
    ]
    torch.testing.assert_close(torch.stack(weighted).sum(), value(built.criterion, built.logits, TARGETS[mixing]))


def test_mixed_labels_weigh_the_losses_of_both(built: Built) -> None:
    own, partners = (value(built.criterion, built.logits, MixedTargets(labels)) for labels in (LABELS, PARTNERS))
    torch.testing.assert_close(value(built.criterion, built.logits, TARGETS["mixed"]), 0.3 * own + 0.7 * partners)


def test_recorded_are_the_losses_of_the_experts(built: Built) -> None:
    output, targets = built.logits.mean(dim=0), TARGETS["mixed"]
    loss, record = built.criterion(output, targets, {"logits": built.logits}, return_expert_losses=True)
    torch.testing.assert_close(loss, value(built.criterion, built.logits, targets))
    assert list(record) == [f"loss_e_{expert}" for expert in range(len(built.logits))]
    if built.criterion.needs_expert_logits:
        torch.testing.assert_close(torch.stack(list(record.values())).mean(), loss)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_raised_to_float32(built: Built, dtype: torch.dtype) -> None:
    logits = built.logits.to(dtype)
    loss = built.criterion(logits[0], TARGETS["mixed"], {"logits": logits})
    assert loss.dtype == torch.float32
    expected = built.criterion(logits[0].float(), TARGETS["mixed"], {"logits": logits.float()})
    torch.testing.assert_close(loss, expected)


def test_its_state_goes_through_a_checkpoint(built: Built) -> None:
    file = io.BytesIO()
    torch.save(built.criterion.state_dict(), file)
    file.seek(0)
    other = built.with_classes_renamed(torch.arange(C))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert {name: entry.tolist() for name, entry in other.state_dict().items()} == {
        name: entry.tolist() for name, entry in built.criterion.state_dict().items()
    }
    expected = value(built.criterion, built.logits, TARGETS["mixed"])
    assert torch.equal(value(other, built.logits, TARGETS["mixed"]), expected)


def test_it_is_finite_in_every_epoch_and_an_epoch_begun_again_is_the_same(built: Built) -> None:
    for epoch in (1, 2, 1):
        built.criterion.start_epoch(epoch)
        loss = value(built.criterion, built.logits, TARGETS["mixed"])
        assert loss.isfinite()
        built.criterion.start_epoch(epoch)
        assert torch.equal(value(built.criterion, built.logits, TARGETS["mixed"]), loss)


def test_the_prior_that_it_is_at_home_on_is_one(built: Built, digits: ImageDataLoader) -> None:
    counts = np.array(digits.cls_num_list)
    homes = built.criterion.home_priors(counts / counts.sum())
    if homes is not None:
        assert homes.shape in {(1, C), (built.logits.shape[0], C)}
        assert homes.min() >= 0
        assert homes.sum(axis=1) == pytest.approx(1)
