"""The digits' reader: split by class, and interpolated bilinearly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data_loader.data_loaders import digits
from data_loader.data_loaders.digits import read_digits


def test_the_digits_are_split_by_class_and_complete() -> None:
    from sklearn.datasets import load_digits  # noqa: PLC0415

    train, test = (read_digits("", train=is_train, verify=True) for is_train in (True, False))
    everything = load_digits()
    assert np.bincount(test.targets).tolist() == [50] * 10
    assert (np.bincount(train.targets) + 50).tolist() == np.bincount(everything.target).tolist()
    assert train.images.shape[1:] == test.images.shape[1:] == (3, 16, 16)
    for label in range(10):  # the last fifty of each class are for testing
        originals = everything.images[everything.target == label]
        for split, part in ((train, originals[:-50]), (test, originals[-50:])):
            mean = split.images[split.targets == label].float().mean((1, 2, 3)).numpy()
            assert np.abs(mean - part.mean((1, 2)) * 255 / 16).max() < 1.5  # interpolation about keeps the mean


def test_digits_are_interpolated_bilinearly_between_pixel_centres() -> None:
    from sklearn.datasets import load_digits  # noqa: PLC0415

    grey = load_digits().images[0] * 255 / 16
    along = np.clip(np.arange(16) / 2 - 0.25, 0, 7)  # the centre of a pixel of 16 among those of 8
    low = np.minimum(along.astype(int), 6)
    weight = along - low
    rows = grey[low] * (1 - weight)[:, None] + grey[low + 1] * weight[:, None]
    expected = rows[:, low] * (1 - weight) + rows[:, low + 1] * weight
    first = read_digits("", train=True, verify=True).images[0]
    assert all(np.abs(first[channel].numpy() - expected).max() <= 0.51 for channel in range(3))


def test_where_the_file_lies_elsewhere_scikit_learn_itself_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from_file = read_digits("", train=True, verify=True)
    digits._enlarged.cache_clear()
    monkeypatch.setattr(digits, "find_spec", lambda _: None)
    from_package = read_digits("", train=True, verify=True)
    assert torch.equal(from_file.images, from_package.images)
    assert np.array_equal(from_file.targets, from_package.targets)
