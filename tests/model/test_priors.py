"""Class priors and the experts' exponents."""

import math

import numpy as np
import pytest
import torch

from model.priors import adjust_logits, log_prior, normalise_tau_list


def test_log_prior_by_hand():
    np.testing.assert_allclose(log_prior([6, 3, 1]), np.log([0.6, 0.3, 0.1]), rtol=1e-8)
    assert log_prior([1, 0])[1] == pytest.approx(math.log(1e-9))
    assert log_prior([1, 0], eps=0.5)[1] == pytest.approx(math.log(0.5))


def test_log_prior_gives_back_what_it_was_given():
    tensor = log_prior(torch.tensor([6, 3, 1]))
    assert isinstance(tensor, torch.Tensor)
    torch.testing.assert_close(tensor, torch.tensor([0.6, 0.3, 0.1]).log())
    assert log_prior(torch.tensor([1.0, 3.0], dtype=torch.float64)).dtype == torch.float64
    assert isinstance(log_prior(np.array([6, 3, 1])), np.ndarray)


@pytest.mark.parametrize("counts", [[0, 0], [1, -1], [1, math.nan], [], [[1, 2]]])
def test_counts_that_are_none_are_refused(counts):
    with pytest.raises(ValueError, match="class counts"):
        log_prior(counts)


def test_adjusted_logits_are_bayes_rule():
    posterior_under_uniform = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]])
    target_prior = np.array([0.7, 0.2, 0.1])
    expected = posterior_under_uniform * target_prior
    expected /= expected.sum(axis=1, keepdims=True)
    adjusted = np.exp(adjust_logits(np.log(posterior_under_uniform), 1000 * target_prior))  # counts, not frequencies
    np.testing.assert_allclose(adjusted / adjusted.sum(axis=1, keepdims=True), expected, rtol=1e-6)


def test_adjusted_logits_stay_finite_and_keep_type_and_axes():
    logits = np.zeros((2, 3, 4), dtype=np.float32)  # [N, E, C]
    adjusted = adjust_logits(logits, [1, 1, 0, 2])
    assert adjusted.dtype == np.float32
    assert adjusted.shape == (2, 3, 4)
    assert np.isfinite(adjusted).all()
    assert not logits.any()  # the argument is left alone
    assert adjust_logits(logits.astype(np.float16), [1, 1, 0, 2]).dtype == np.float32
    with pytest.raises(ValueError, match="logits have 4 classes and the target prior 3"):
        adjust_logits(logits, [1, 1, 1])


@pytest.mark.parametrize(
    ("tau_list", "num_experts", "limits", "expected"),
    [
        ([0, 1.0, 2], 3, (None, None), [0, 1, 2]),
        ("0;1.25;2.5", 3, (None, None), [0, 1.25, 2.5]),
        (" -1 ; 1;3", 3, (0, 2), [-1, 1, 3]),
        ("1", 1, (None, None), [1]),
        ("limits", 7, (0, 2), [0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2]),
        ("limits", 3, (-1, 3), [-1, 1, 3]),
        ("limits", 1, (0, 2.5), [1.25]),
        ("uniform", 4, (0, 2), [0.25, 0.75, 1.25, 1.75]),
        ("uniform", 2, (-1, 3), [0, 2]),
        ("uniform", 1, (0, 2), [1]),
    ],
)
def test_tau_lists(tau_list, num_experts, limits, expected):
    taus = normalise_tau_list(tau_list, num_experts, *limits)
    assert taus == pytest.approx(expected)
    assert all(type(tau) is float for tau in taus)


@pytest.mark.parametrize("spacing", ["limits", "uniform"])
@pytest.mark.parametrize("num_experts", [1, 2, 3, 5])
def test_spaced_taus_have_the_middle_of_the_limits_as_their_mean(spacing, num_experts):
    assert np.mean(normalise_tau_list(spacing, num_experts, 0.0, 2.0)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], 3), r"tau_list \[0, 1\] has 2 entries and num_experts is 3"),
        (("0;1;2;3", 3), "has 4 entries and num_experts is 3"),
        (("limit", 3, 0, 2), "'limit': give a list of numbers, 'a;b;c', 'limits' or 'uniform'"),
        (("0;x;2", 3), "give a list of numbers"),
        (([0, None, 2], 3), "give a list of numbers"),
        (([0, math.inf, 2], 3), "give a list of numbers"),
        (("limits", 3, 0, None), "'limits' needs tau_max"),
        (("uniform", 3, None, 2), "'uniform' needs tau_min"),
        (("uniform", 3), "needs tau_min and tau_max"),
    ],
)
def test_mistakes_in_tau_lists(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        normalise_tau_list(*arguments)
    assert "\n" not in str(caught.value)
