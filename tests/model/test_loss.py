"""The loss of the balanced product of experts, against the formula written out."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from model.losses.bs_expert import BSExpertLoss
from model.losses.cross_entropy import CrossEntropyLoss

COUNTS = [50.0, 30.0, 15.0, 5.0]
TAUS = [0.0, 1.0, 2.0]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 6, 4, generator=generator, dtype=torch.float64) * 3  # [E, B, C]
    target = torch.tensor([0, 1, 2, 3, 0, 3])
    return logits, target


def written_out(logits, target, counts, taus, eps=1e-9):
    """Mean over experts of the mean over samples of −log softmax(logits + τ log(π + eps)) at the target, in loops."""
    total = sum(counts)
    by_expert = []
    for expert, tau in zip(logits.tolist(), taus, strict=True):
        by_sample = []
        for row, label in zip(expert, target.tolist(), strict=True):
            shifted = [value + tau * math.log(count / total + eps) for value, count in zip(row, counts, strict=True)]
            by_sample.append(math.log(sum(math.exp(value) for value in shifted)) - shifted[label])
        by_expert.append(sum(by_sample) / len(by_sample))
    return by_expert


def test_loss_is_the_formula(batch):
    logits, target = batch
    expected = written_out(logits, target, COUNTS, TAUS)
    value, record = BSExpertLoss(COUNTS, TAUS)(logits.mean(0), target, {"logits": logits}, return_expert_losses=True)
    assert value.item() == pytest.approx(sum(expected) / 3, rel=1e-9)
    assert list(record) == ["loss_e_0", "loss_e_1", "loss_e_2"]
    assert [loss.item() for loss in record.values()] == pytest.approx(expected, rel=1e-9)
    assert not any(loss.requires_grad for loss in record.values())


def test_eps_keeps_an_empty_class_finite(batch):
    logits, target = batch
    counts = [50.0, 30.0, 20.0, 0.0]
    value = BSExpertLoss(counts, TAUS, eps=1e-3)(logits.mean(0), target, {"logits": logits})
    assert value.item() == pytest.approx(np.mean(written_out(logits, target, counts, TAUS, eps=1e-3)), rel=1e-7)


def test_gradient(batch):
    logits, target = batch
    criterion = BSExpertLoss(COUNTS, TAUS)
    assert torch.autograd.gradcheck(
        lambda x: criterion(x.mean(0), target, {"logits": x}), logits.clone().requires_grad_()
    )


def test_equal_counts_leave_cross_entropy_for_any_tau(batch):
    logits, target = batch
    value = BSExpertLoss([7.0] * 4, [-1.0, 1.0, 3.0])(logits.mean(0), target, {"logits": logits})
    expected = torch.stack([F.cross_entropy(expert, target) for expert in logits]).mean()
    torch.testing.assert_close(value, expected)


def test_tau_zero_is_cross_entropy_of_each_expert(batch):
    logits, target = batch
    _, record = BSExpertLoss(COUNTS, [0.0] * 3)(logits.mean(0), target, {"logits": logits}, return_expert_losses=True)
    for expert, loss in zip(logits, record.values(), strict=True):
        torch.testing.assert_close(loss, F.cross_entropy(expert, target))


def test_an_undecided_expert_of_tau_one_is_charged_the_prior():
    value = BSExpertLoss(COUNTS, [1.0])(torch.zeros(2, 4), torch.tensor([0, 3]), {"logits": torch.zeros(1, 2, 4)})
    assert value.item() == pytest.approx(-(math.log(0.5) + math.log(0.05)) / 2, rel=1e-6)


@pytest.mark.parametrize("criterion", [BSExpertLoss(COUNTS, TAUS), CrossEntropyLoss()])
def test_without_expert_logits_it_is_cross_entropy_of_the_output(criterion, batch):
    logits, target = batch
    expected = F.cross_entropy(logits[0], target)
    torch.testing.assert_close(criterion(logits[0], target), expected)
    value, record = criterion(logits[0], target, return_expert_losses=True)
    torch.testing.assert_close(value, expected)
    assert record == {}


def test_cross_entropy_records_each_experts_own(batch):
    logits, target = batch
    output = logits.mean(0)
    value, record = CrossEntropyLoss()(output, target, {"logits": logits}, return_expert_losses=True)
    torch.testing.assert_close(value, F.cross_entropy(output, target))
    torch.testing.assert_close(record["loss_e_2"], F.cross_entropy(logits[2], target))
    assert len(record) == 3


def test_counts_and_taus_are_in_the_checkpoint_and_rule_after_loading(batch):
    logits, target = batch
    trained = BSExpertLoss(COUNTS, TAUS)
    assert set(trained.state_dict()) == {"bsce_weight", "tau_list"}
    assert trained.bsce_weight.tolist() == COUNTS
    assert trained.tau_list.tolist() == TAUS
    loaded = BSExpertLoss([1.0] * 4, [0.0] * 3)
    loaded.load_state_dict(trained.state_dict())
    torch.testing.assert_close(
        loaded(logits[0], target, {"logits": logits}), trained(logits[0], target, {"logits": logits})
    )


def test_where_each_expert_is_at_home():
    """π_train^(1−τ): the training prior for τ = 0, uniform for 1, its inverse for 2; cross-entropy stays at home."""
    prior = np.array(COUNTS) / sum(COUNTS)
    uniform, inverse = np.full(4, 0.25), (1 / prior) / (1 / prior).sum()
    homes = BSExpertLoss(COUNTS, [0, 1, 2]).home_priors(prior)
    np.testing.assert_allclose(homes, [prior, uniform, inverse], rtol=1e-6)
    np.testing.assert_array_equal(CrossEntropyLoss().home_priors(prior), [prior])
    # classes drawn equally often, and adjusted for the counts all the same: corrected twice
    np.testing.assert_allclose(BSExpertLoss(COUNTS, [1.0]).home_priors(uniform), [inverse], rtol=1e-6)


def test_a_class_without_images_is_in_no_home_prior():
    homes = BSExpertLoss([90.0, 0.0, 10.0], [0, 1, 3]).home_priors(np.array([0.9, 0, 0.1]))
    np.testing.assert_allclose(homes, [[0.9, 0, 0.1], [0.5, 0, 0.5], [1 / 82, 0, 81 / 82]], rtol=1e-6)


def test_mistakes_are_named(batch):
    logits, target = batch
    with pytest.raises(ValueError, match=r"tau_list is the text 'limits': translate it with .*normalise_tau_list"):
        BSExpertLoss(COUNTS, "limits")
    with pytest.raises(ValueError, match="tau_list is empty"):
        BSExpertLoss(COUNTS, [])
    with pytest.raises(ValueError, match="the logits have 3 experts and tau_list has 2 entries"):
        BSExpertLoss(COUNTS, [0.0, 1.0])(logits[0], target, {"logits": logits})
    with pytest.raises(ValueError, match="the logits have 4 classes and cls_num_list 3"):
        BSExpertLoss(COUNTS[:3], TAUS)(logits[0], target, {"logits": logits})
    with pytest.raises(ValueError, match="class counts must be finite, at least 0"):
        BSExpertLoss([3.0, -1.0], TAUS)
