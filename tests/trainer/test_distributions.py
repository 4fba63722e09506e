"""Test distributions by name: the published ladder against a plain loop, numbers in names, and the registry."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from data_loader.loader import ListedImages
from tests.trainer.cifar_splits import cifar_split, plain_subset
from trainer.evaluation.distributions import DISTRIBUTIONS, TestSplit, checked_name, choices, remark, select
from trainer.evaluation.presets import SWEEPS, WHOLE
from utils.errors import UserError

ORDER = [
    "forward50",
    "forward25",
    "forward10",
    "forward5",
    "forward2",
    "uniform",
    "backward2",
    "backward5",
    "backward10",
    "backward25",
    "backward50",
]
SIZES = {10: (2795, 3229, 4084, 5081, 7241), 100: (2486, 2956, 3876, 4932, 7166)}  # r = 50, 25, 10, 5, 2


# -- the published ladder -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [10, 100])
def test_the_eleven_distributions_of_cifar_have_the_published_order_and_sizes(num_classes: int) -> None:
    selected = select(SWEEPS["cifar"].distributions, cifar_split(num_classes))
    assert [distribution.name for distribution in selected] == ORDER
    sizes = SIZES[num_classes]
    assert [len(distribution.indices) for distribution in selected] == [*sizes, 10_000, *reversed(sizes)]


@pytest.mark.parametrize("num_classes", [10, 100])
def test_the_distributions_are_the_benchmarks_very_images(num_classes: int) -> None:
    split = cifar_split(num_classes)
    for distribution in select(ORDER, split):
        if distribution.name == "uniform":
            np.testing.assert_array_equal(distribution.indices, np.arange(10_000))
            continue
        ratio = int(distribution.name.removeprefix("forward").removeprefix("backward"))
        expected = plain_subset(split.targets, ratio, backward=distribution.name.startswith("backward"))
        assert distribution.indices.tolist() == expected


@pytest.mark.parametrize("imbalance", [1, 10, 100])
def test_forward_and_backward_do_not_depend_on_how_long_the_training_tail_is(imbalance: int) -> None:
    names = ["forward10", "backward10"]
    for ours, theirs in zip(select(names, cifar_split(10)), select(names, cifar_split(10, imbalance)), strict=True):
        np.testing.assert_array_equal(ours.indices, theirs.indices)


def test_presets_are_those_of_the_scripts() -> None:
    inat = ("forward3", "forward2", "uniform", "backward2", "backward3")
    assert {name: preset.distributions for name, preset in SWEEPS.items()} == {
        "cifar": tuple(ORDER),
        "imagenet": tuple(ORDER),
        "inat": inat,
    }
    assert {preset.protocol for preset in SWEEPS.values()} == {"shifts"}
    assert (WHOLE.protocol, WHOLE.distributions) == ("test", ("as_split",))


def test_classes_are_ranked_by_training_frequency_ties_by_label() -> None:
    targets = np.repeat(np.arange(4), 8)
    split = TestSplit(targets, [3, 10, 10, 50])  # ranks: 3, then 1 and 2, then 0
    forward, backward = select(["forward8", "backward8"], split)
    # 8 · 8^(−rank/3): 8, 4, 2, 1
    assert np.bincount(targets[forward.indices], minlength=4).tolist() == [1, 4, 2, 8]
    assert np.bincount(targets[backward.indices], minlength=4).tolist() == [8, 2, 4, 1]


def test_a_list_comes_before_the_rule_and_what_stands_in_for_one_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    listed = {
        "backward2": ListedImages(np.array([31, 0, 5]), published=True),
        "backward3": ListedImages(np.array([0, 31]), published=False),
    }
    split = TestSplit(np.repeat(np.arange(4), 8), [9, 8, 7, 6], listed.get, shifts_are_listed=True)
    selected = select(["forward5", "forward2.5", "uniform", "backward2", "backward3"], split)
    forward, ratio_without_lists, uniform, backward, own = selected
    np.testing.assert_array_equal(backward.indices, [31, 0, 5])
    assert len(forward.indices) > 3
    assert len(uniform.indices) == 32
    assert [distribution.selection for distribution in selected] == [*3 * ["by rule"], "published list", "list file"]
    assert [distribution.stands_in for distribution in selected] == [True, *4 * [False]]
    (record,) = caplog.records
    assert record.getMessage() == (
        "No list files for forward5: selecting the test images by the benchmark's rule "
        "(not the benchmark's own images)."
    )
    assert remark(selected) == "Selected by rule, without list files, so not the benchmark's own images: forward5"
    assert remark([ratio_without_lists, uniform, backward, own]) == ""


def test_where_the_rule_is_the_benchmark_nothing_stands_in(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    selected = select(ORDER, cifar_split(10))
    assert {distribution.selection for distribution in selected} == {"by rule"}
    assert remark(selected) == ""
    assert not caplog.records


# -- splits that are not uniform ------------------------------------------------------------------------------------


def split_of(*sizes: int) -> TestSplit:
    """Test images of each class; the training images have the same proportions."""
    return TestSplit(np.repeat(np.arange(len(sizes)), sizes), [4 * size for size in sizes])


@pytest.mark.parametrize(("sizes", "name"), [((5, 5, 5), "uniform"), ((6, 5, 6), "uniform"), ((7, 5, 5), "as split")])
def test_a_whole_split_is_called_what_it_is(sizes: tuple[int, ...], name: str) -> None:
    (whole,) = select(["as_split"], split_of(*sizes))
    assert (whole.name, len(whole.indices)) == (name, sum(sizes))


def test_from_a_long_tailed_split_the_sets_are_drawn_in_the_ladders_proportions_as_far_as_its_counts_allow() -> None:
    """Shares of imbalance 4 over three classes are 1, ½, ¼, backward ¼, ½, 1."""
    split = split_of(40, 12, 4)
    assert counts_of("uniform", split).tolist() == [4, 4, 4]
    assert counts_of("forward4", split).tolist() == [19, 9, 4]  # ⌊19⌋, ⌊9.5⌋, ⌊4.75⌋
    assert counts_of("forward10", split).tolist() == [40, 12, 4]  # ⌊40⌋, ⌊12.6⌋, ⌊4⌋
    assert counts_of("backward4", split).tolist() == [1, 2, 4]
    # of the six orders: 1 ½ ¼, 1 ¼ ½, ½ 1 ¼, ¼ 1 ½, ½ ¼ 1, ¼ ½ 1
    orders = [(19, 9, 4), (9, 2, 4), (6, 12, 3), (2, 9, 4), (2, 1, 4), (1, 2, 4)]
    drawn = {tuple(counts_of(f"shuffled4-{seed}", split)) for seed in range(20)}
    assert drawn <= set(orders)
    assert len(drawn) > 3


def test_what_the_counts_do_not_allow_is_an_error_where_it_was_asked_for_else_left_out_in_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    split = split_of(40, 12, 4)
    with pytest.raises(UserError, match="'backward50': the test images don't allow it: with 4 images of the rarest"):
        select(["backward50"], split)
    selected = select(["backward50", "uniform", "backward25"], split, leave_out=True)
    assert [distribution.name for distribution in selected] == ["uniform"]
    (record,) = caplog.records
    assert record.getMessage().startswith("Left out: backward50, backward25: the test images don't allow it")


def test_a_class_without_test_images_leaves_the_whole_split_alone() -> None:
    selected = select(["as_split", "forward2", "uniform"], split_of(5, 0, 4), leave_out=True)
    assert [(distribution.name, len(distribution.indices)) for distribution in selected] == [("as split", 9)]
    with pytest.raises(UserError, match="none of the test distributions is possible"):
        select(["forward2", "uniform"], split_of(5, 0, 4), leave_out=True)


def test_distributions_of_the_same_images_are_one_with_both_names() -> None:
    selected = select(["forward5", "forward2", "uniform"], split_of(2, 2))
    # ⌊2/5⌋ = 0 and ⌊2/2⌋ = 1
    assert [(distribution.name, len(distribution.indices)) for distribution in selected] == [
        ("forward5", 2),
        ("forward2", 3),
        ("uniform", 4),
    ]
    selected = select(["forward10", "forward5", "uniform", "forward1"], split_of(2, 2))
    assert [distribution.name for distribution in selected] == ["forward10 = forward5", "uniform = forward1"]


# -- drawn at random ------------------------------------------------------------------------------------------------


def counts_of(name: str, split: TestSplit) -> np.ndarray:
    (distribution,) = select([name], split)
    return np.bincount(split.targets[distribution.indices], minlength=len(split.class_counts))


def test_shuffled_tails_have_the_ladders_counts_in_another_order_for_each_seed() -> None:
    split = cifar_split(100)
    ladder = counts_of("forward50", split)
    orders = [counts_of(f"shuffled50-{seed}", split) for seed in range(3)]
    for counts in orders:
        assert sorted(counts) == sorted(ladder)
        assert counts.tolist() != ladder.tolist()
    assert len({tuple(counts) for counts in orders}) == 3
    with pytest.raises(UserError, match=r"'shuffled0\.5-1': the imbalance ratio must be at least 1"):
        select(["shuffled0.5-1"], split)


def test_a_dirichlet_draw_uses_one_class_whole_and_the_others_in_proportion() -> None:
    """A large alpha gives all classes the same share; many draws have the mean and the spread of theory."""
    split = cifar_split(10)
    np.testing.assert_allclose(counts_of("dirichlet1000000-1", split), 1000, atol=10)
    shares = []
    for seed in range(400):
        counts = counts_of(f"dirichlet1-{seed}", split)
        assert counts.max() == 1000
        shares.append(counts / counts.sum())
    np.testing.assert_allclose(np.mean(shares, axis=0), 0.1, atol=0.02)  # standard error 0.0045
    # Dirichlet(1) over C = 10: variance of a share (C − 1) / (C² (C + 1)) = 9 / 1100
    assert np.var(shares, axis=0).mean() == pytest.approx(9 / 1100, rel=0.15)


def test_dirichlet_passes_over_classes_without_test_images_and_stands_extremes() -> None:
    split = TestSplit(np.repeat([0, 2], [6, 3]), [5, 4, 3])
    assert counts_of("dirichlet5-1", split)[1] == 0
    for seed in range(5):
        assert sorted(counts_of(f"dirichlet0.00001-{seed}", split) > 0) == [False, False, True]
    with pytest.raises(UserError, match="'dirichlet0-1': alpha must be above 0"):
        select(["dirichlet0-1"], split)


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("forwrd50", ["'forwrd50'", "forward<ratio>", "uniform", "did you mean 'forward'"]),
        ("forward", ["'forward'", "forward<ratio>"]),
        ("forward50-2", ["forward<ratio>"]),
        ("uniform3", ["'uniform3'", "uniform"]),
        ("forward50x", ["'forward50x'"]),
        ("50", ["'50'"]),
        ("", ["''"]),
        ("forward-50", ["'forward-50'"]),
    ],
)
def test_a_name_that_stands_for_none_is_one_line_with_what_there_is(name: str, words: list[str]) -> None:
    for read in (checked_name, lambda given: select([given], cifar_split(10))):
        with pytest.raises(UserError) as caught:
            read(name)
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in str(caught.value)


@pytest.mark.parametrize("ratio", ["0", "0.5"])
def test_a_number_that_makes_no_sense_is_one_line_that_names_the_distribution(ratio: str) -> None:
    with pytest.raises(UserError, match=rf"'forward{ratio}': the imbalance ratio must be at least 1"):
        select([f"forward{ratio}"], cifar_split(10))


def test_any_ratio_goes_and_a_name_that_stands_twice_counts_once() -> None:
    selected = select(["forward100", "forward2.5", "forward1", "forward100"], cifar_split(10))
    assert [distribution.name for distribution in selected] == ["forward100", "forward2.5", "forward1"]
    sizes = [len(distribution.indices) for distribution in selected]
    assert sizes[0] < sizes[1] < sizes[2] == 10_000


# -- the registry ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", choices())
def test_each_selects_images_of_the_split_each_once_and_the_same_every_time(form: str) -> None:
    name = form.partition("<")[0] + "-".join("2" * form.count("<"))
    split = cifar_split(10)
    (first,), (again,) = select([name], split), select([name], split)
    assert len(np.unique(first.indices)) == len(first.indices) > 0
    assert first.indices.min() >= 0
    assert first.indices.max() < 10_000
    np.testing.assert_array_equal(first.indices, again.indices)


def test_a_further_distribution_is_one_function_with_numbers_behind_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def every(split: TestSplit, step: int, begin: float) -> np.ndarray:
        return np.arange(int(begin), len(split.targets), step)

    monkeypatch.setitem(DISTRIBUTIONS, "every", every)
    assert "every<step>-<begin>" in choices()
    (distribution,) = select(["every3-1.5"], TestSplit(np.zeros(8, int), [5]))
    assert distribution.indices.tolist() == [1, 4, 7]
    with pytest.raises(UserError, match="holds none of the 8 test images"):
        select(["every3-9"], TestSplit(np.zeros(8, int), [5]))
