"""What is said of an evaluation: nothing that its few images don't carry."""

from __future__ import annotations

import numpy as np
import pytest

from model.intervals import trials_needed, wilson_interval
from trainer.own_images.verdict import verdict


def said(right: list[int], tested: list[int], trained: list[int], **options: float) -> str:
    """Of classes a, b, … of which so many test images are right; the others are taken for the next class."""
    targets = np.repeat(np.arange(len(tested)), tested)
    predicted = targets.copy()
    for label, good in enumerate(right):
        predicted[np.flatnonzero(targets == label)[good:]] = (label + 1) % len(tested)
    return "\n".join(verdict("abcdefgh"[: len(tested)], trained, predicted, targets, **options))


def test_a_class_is_surely_weak_where_its_interval_ends_below_the_mean() -> None:
    text = said([95, 20, 90], [100, 100, 100], [500, 20, 400])
    assert "Weak, and surely below that mean:\n  b: 20 of 100 test images right (20 %, 95 % within 13 … 29 %)" in text
    assert "taken for c 80 times; 20 training images" in text
    assert "more training images of b (20): half of the classes have 400 or more" in text


def test_the_same_share_of_few_images_is_only_perhaps_weak() -> None:
    text = said([95, 1, 90], [100, 3, 100], [500, 20, 400])
    assert "surely" not in text
    assert "Perhaps weak; too few test images to be sure:\n  b: 1 of 3 test images right" in text


def test_one_image_is_no_plural() -> None:
    assert "b: 0 of 1 test image right (0 %, 95 % within 0 … 79 %); taken for c once; 1 training image\n" in said(
        [95, 0, 90], [100, 1, 100], [500, 1, 400]
    )


def test_a_class_without_test_images_is_unknown_and_not_weak() -> None:
    text = said([9, 0, 9], [10, 0, 10], [50, 1, 50])
    assert "Not known, without a test image: b." in text
    assert "No class stands out as weak." in text


def test_an_enough_trained_weak_class_is_not_told_to_have_too_few_images() -> None:
    text = said([10, 95, 90], [100, 100, 100], [500, 20, 400])
    assert "a: as many training images as others" in text
    assert "more training images of" not in text


def test_how_many_test_images_are_needed_is_what_the_interval_takes() -> None:
    assert "±10 points takes 93 of it (465 in all, of which 20% are tested)" in said(
        [9, 9], [9, 9], [9, 9], tested_part=0.2
    )
    for half_width in (0.02, 0.1, 0.3):
        count = trials_needed(half_width)
        low, high = wilson_interval(0.5, count)
        assert (high - low) / 2 <= half_width
        low, high = wilson_interval(0.5, count - 1)
        assert (high - low) / 2 > half_width
    with pytest.raises(ValueError, match="half width"):
        trials_needed(0.5)
