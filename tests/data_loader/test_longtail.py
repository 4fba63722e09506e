"""Long-tailed selection: the benchmark's counts, totals and images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_loader.datasets.longtail import (
    SHIFT_RATIOS,
    longtail_counts,
    select_per_class,
    shift_factor,
    shifted_indices,
    stratified_split,
)


def labels_of(sizes: list[int] | np.ndarray, seed: int = 3) -> np.ndarray:
    """Labels of classes of given sizes, in a mixed-up order."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int64)


# --- counts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_classes", "ratio", "total"),
    [(100, 10, 19_573), (100, 50, 12_608), (100, 100, 10_847), (10, 10, 20_431), (10, 50, 13_996), (10, 100, 12_406)],
)
def test_training_totals_of_cifar_are_the_published_ones(num_classes: int, ratio: int, total: int) -> None:
    counts = longtail_counts(50_000 // num_classes, num_classes, imb_type="exp", imb_factor=1 / ratio)
    assert counts.sum() == total
    assert counts[0] == 50_000 // num_classes
    assert counts.dtype == np.int64


def test_counts_by_hand() -> None:
    # 1000 · 100^(−i/4) = 1000, 316.2…, 100, 31.6…, 10
    assert longtail_counts(1000, 5, imb_type="exp", imb_factor=0.01).tolist() == [1000, 316, 100, 31, 10]
    # 120 · 40^(−i/9): the digits
    digits = longtail_counts(120, 10, imb_type="exp", imb_factor=1 / 40)
    assert digits.tolist() == [120, 79, 52, 35, 23, 15, 10, 6, 4, 3]


@pytest.mark.parametrize(
    ("num_classes", "counts"), [(4, [500, 500, 5, 5]), (5, [500, 500, 5, 5, 5]), (1, [5]), (2, [500, 5])]
)
def test_step_gives_the_first_half_everything_and_the_rest_a_fraction(num_classes: int, counts: list[int]) -> None:
    assert longtail_counts(500, num_classes, imb_type="step", imb_factor=0.01).tolist() == counts


def test_step_rounds_down() -> None:
    assert longtail_counts(120, 2, imb_type="step", imb_factor=0.0249).tolist() == [120, 2]


def test_one_class_keeps_everything() -> None:
    assert longtail_counts(7, 1, imb_type="exp", imb_factor=0.01).tolist() == [7]


def test_an_unknown_type_is_told_with_the_choices() -> None:
    with pytest.raises(ValueError, match="'exponential' is not one of exp, step"):
        longtail_counts(7, 3, imb_type="exponential", imb_factor=0.1)


@given(
    n_max=st.integers(1, 10_000),
    num_classes=st.integers(1, 200),
    factor=st.floats(1e-4, 1),
    imb_type=st.sampled_from(["exp", "step"]),
)
@settings(deadline=None, max_examples=100)
def test_counts_fall_from_n_max_to_n_max_times_f(n_max: int, num_classes: int, factor: float, imb_type: str) -> None:
    counts = longtail_counts(n_max, num_classes, imb_type=imb_type, imb_factor=factor)
    assert len(counts) == num_classes
    assert np.all(np.diff(counts) <= 0)
    assert counts.max() <= n_max
    if num_classes > 1:
        assert counts[0] == n_max
        assert abs(counts[-1] - n_max * factor) <= 1
    if factor == 1:
        assert np.all(counts == n_max)


# --- which images -----------------------------------------------------------------------------------------------


def chosen_by_the_global_generator(targets: np.ndarray, counts: list[int] | np.ndarray) -> list[int]:
    """The benchmark's rule in so many words."""
    kept: list[int] = []
    np.random.seed(0)
    for label, count in enumerate(counts):
        indices = np.where(targets == label)[0]
        np.random.shuffle(indices)
        kept.extend(indices[:count].tolist())
    return kept


@pytest.mark.parametrize("ratio", [10, 50, 100])
def test_the_chosen_images_are_the_benchmarks(ratio: int) -> None:
    targets = labels_of([500] * 100)
    counts = longtail_counts(500, 100, imb_type="exp", imb_factor=1 / ratio)
    assert select_per_class(targets, counts).tolist() == chosen_by_the_global_generator(targets, counts)


def test_every_set_starts_its_choice_afresh_and_leaves_the_global_generator_alone() -> None:
    targets = labels_of([50] * 10)
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    first = select_per_class(targets, [20] * 10)
    second = select_per_class(targets, [20] * 10)
    assert np.array_equal(first, second)
    assert np.array_equal(np.random.get_state()[1], before)


def test_fewer_images_are_a_part_of_more() -> None:
    targets = labels_of([50] * 10)
    few, many = (select_per_class(targets, [count] * 10).reshape(10, -1) for count in (7, 20))
    assert np.array_equal(few, many[:, :7])


@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=12), data=st.data())
@settings(deadline=None, max_examples=60)
def test_a_selection_holds_each_classes_share_class_after_class_without_repeats(
    sizes: list[int], data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(0, 40), min_size=len(sizes), max_size=len(sizes)))
    targets = labels_of(sizes)
    chosen = select_per_class(targets, counts)
    labels = targets[chosen]
    assert len(np.unique(chosen)) == len(chosen)
    assert np.all(np.diff(labels) >= 0)
    assert np.bincount(labels, minlength=len(sizes)).tolist() == np.minimum(sizes, counts).tolist()


# --- shifted tests ----------------------------------------------------------------------------------------------

CIFAR_SHIFTS = {
    100: {2: 7_166, 5: 4_932, 10: 3_876, 25: 2_956, 50: 2_486},
    10: {2: 7_241, 5: 5_081, 10: 4_084, 25: 3_229, 50: 2_795},
}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    ("num_classes", "ratio", "total"),
    [(classes, ratio, total) for classes, rows in CIFAR_SHIFTS.items() for ratio, total in rows.items()],
)
def test_shifted_cifar_has_the_published_sizes_in_both_directions(
    num_classes: int, ratio: int, total: int, backward: bool
) -> None:
    targets = labels_of([10_000 // num_classes] * num_classes)
    training = longtail_counts(500, num_classes, imb_type="exp", imb_factor=0.01)
    chosen = shifted_indices(targets, training, factor=shift_factor(ratio), backward=backward)
    assert len(chosen) == total
    counts = np.bincount(targets[chosen], minlength=num_classes)
    assert counts[-1 if backward else 0] == 10_000 // num_classes
    assert np.all(np.diff(counts) * (1 if backward else -1) >= 0)


def test_the_forward_test_of_cifar_is_the_training_rule_on_the_test_images() -> None:
    targets = labels_of([100] * 100)
    training = longtail_counts(500, 100, imb_type="exp", imb_factor=0.01)
    wanted = [int(100 * 0.02 ** (i / 99)) for i in range(100)]
    forward = shifted_indices(targets, training, factor=0.02, backward=False)
    assert forward.tolist() == chosen_by_the_global_generator(targets, wanted)
    backward = shifted_indices(targets, training, factor=0.02, backward=True)
    assert backward.tolist() == chosen_by_the_global_generator(targets, wanted[::-1])


@pytest.mark.parametrize(
    ("classes", "per_class", "ratio", "total"),
    [
        (1000, 50, 2, 35_574),
        (1000, 50, 5, 24_365),
        (1000, 50, 10, 19_059),
        (1000, 50, 25, 14_437),
        (1000, 50, 50, 12_058),
        (8142, 3, 2, 12_906),
        (8142, 3, 3, 11_147),
    ],
)
@pytest.mark.parametrize("backward", [False, True])
def test_shifted_lists_have_the_published_sizes(
    classes: int, per_class: int, ratio: int, total: int, backward: bool
) -> None:
    targets = labels_of([per_class] * classes)
    training = np.random.default_rng(0).integers(1, 1000, size=classes)
    chosen = shifted_indices(targets, training, factor=shift_factor(ratio), backward=backward)
    assert len(chosen) == total


def test_the_published_backward3_of_inaturalist_was_cut_with_one_third_to_three_decimals() -> None:
    targets = labels_of([3] * 8142)
    training = np.arange(8142, 0, -1)
    assert len(shifted_indices(targets, training, factor=0.333, backward=True)) == 11_137


def test_the_factor_of_a_shift_is_its_inverse_to_four_decimals() -> None:
    assert [shift_factor(ratio) for ratio in SHIFT_RATIOS] == [0.02, 0.04, 0.1, 0.2, 0.5]
    assert shift_factor(3) == 0.3333


def test_classes_are_ranked_by_training_frequency_and_ties_by_label() -> None:
    targets = labels_of([81] * 5)
    training = [10, 50, 10, 70, 50]  # ranks: 3, 1, 4, 0, 2; 81 · (1/81)^(rank/4) = 81, 27, 9, 3, 1
    for backward, expected in ((False, [3, 27, 1, 81, 9]), (True, [27, 3, 81, 1, 9])):
        chosen = shifted_indices(targets, training, factor=1 / 81 + 1e-12, backward=backward)
        assert np.bincount(targets[chosen], minlength=5).tolist() == expected


def test_a_class_that_the_test_split_lacks_stays_empty() -> None:
    targets = np.array([0, 0, 0, 2, 2, 2])
    chosen = shifted_indices(targets, [30, 20, 10, 5], factor=0.5, backward=False)
    assert np.bincount(targets[chosen], minlength=4).tolist() == [3, 0, 1, 0]


@given(
    num_classes=st.integers(1, 40),
    per_class=st.integers(1, 60),
    ratio=st.sampled_from(SHIFT_RATIOS),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_backward_mirrors_forward(num_classes: int, per_class: int, ratio: int, seed: int) -> None:
    targets = labels_of([per_class] * num_classes)
    training = np.random.default_rng(seed).permutation(np.arange(1, num_classes + 1))
    forward, backward = (
        np.bincount(
            targets[shifted_indices(targets, training, factor=shift_factor(ratio), backward=backward)],
            minlength=num_classes,
        )
        for backward in (False, True)
    )
    by_frequency = np.argsort(-training)
    assert np.array_equal(forward[by_frequency], backward[by_frequency][::-1])
    assert np.all(np.diff(forward[by_frequency]) <= 0)


# --- validation part --------------------------------------------------------------------------------------------


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=15), fraction=st.floats(0.01, 0.9))
@settings(deadline=None, max_examples=100)
def test_a_stratified_split_is_complete_disjoint_and_empties_no_class(sizes: list[int], fraction: float) -> None:
    targets = labels_of(sizes)
    kept, held = stratified_split(targets, fraction, len(sizes))
    assert sorted([*kept, *held]) == list(range(len(targets)))
    kept_counts, held_counts = (np.bincount(targets[part], minlength=len(sizes)) for part in (kept, held))
    for size, left, taken in zip(sizes, kept_counts, held_counts, strict=True):
        assert left >= min(size, 1)
        assert taken >= (size >= 2)
        if size >= 2:
            assert abs(taken - size * fraction) <= 1
    assert np.all(np.diff(targets[kept]) >= 0)
    assert np.all(np.diff(targets[held]) >= 0)


def test_a_split_does_not_depend_on_the_state_of_any_generator() -> None:
    targets = labels_of([40, 20, 3, 1])
    np.random.seed(1)
    first = stratified_split(targets, 0.1, 4)
    np.random.seed(2)
    second = stratified_split(targets, 0.1, 4)
    assert all(map(np.array_equal, first, second))
    assert np.bincount(targets[first[1]], minlength=4).tolist() == [4, 2, 1, 0]
