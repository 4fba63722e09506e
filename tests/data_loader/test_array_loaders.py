"""The loaders of data sets in memory: splits, counts, orders and transforms of digits and Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data_loader.array_loaders import ArrayDataLoader
from data_loader.data_loaders.fashion_mnist import ImbalanceFashionMNISTDataLoader
from data_loader.transforms.batch_transforms import CropFlipRotate, Cutout
from tests.data_loader.cifar_files import write_fashion_mnist
from tests.data_loader.epochs import DIGITS, digits, inputs, same_inputs, targets_of


@pytest.fixture(scope="module")
def fashion_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fashion_mnist(tmp_path_factory.mktemp("fashion"), train_images=600, test_images=100)


def test_step_imbalance_and_a_cap_go_together() -> None:
    loader = digits(imb_type="step", imb_factor=0.1, max_per_class=50)
    assert loader.cls_num_list == [50] * 5 + [5] * 5


def test_the_long_tailed_digits() -> None:
    loader = digits()
    assert loader.cls_num_list == DIGITS
    assert loader.num_images == 347
    test = loader.of_split("test")
    assert np.bincount(test.targets).tolist() == [50] * 10
    assert test.cls_num_list == DIGITS
    training, testing = (
        {image.numpy().tobytes() for batch in part for image in batch.images} for part in (loader, test)
    )
    assert len(training) > 340
    assert not training & testing


def test_fashion_mnist_is_made_long_tailed_from_its_four_files(fashion_files: Path) -> None:
    loader = ImbalanceFashionMNISTDataLoader(data_dir=str(fashion_files), batch_size=32, verify=False, imb_factor=0.1)
    assert loader.cls_num_list == [int(60 * 0.1 ** (i / 9)) for i in range(10)]
    assert np.bincount(loader.of_split("test").targets).tolist() == [10] * 10
    batch = next(loader.epoch(0))
    assert batch.images.shape == (32, 3, 28, 28)
    assert batch.view().shape == (32, 3, 28, 28)


@pytest.mark.parametrize(("size", "kind"), [(8, "digits"), (14, "fashion")])
def test_the_hole_has_half_the_images_side(fashion_files: Path, size: int, kind: str) -> None:
    loader: ArrayDataLoader = (
        digits(cutout=True)
        if kind == "digits"
        else ImbalanceFashionMNISTDataLoader(data_dir=str(fashion_files), batch_size=8, verify=False, cutout=True)
    )
    assert Cutout(1, size) in loader.augmentation("train")


def test_digits_are_never_mirrored() -> None:
    assert digits().augmentation("train") == [CropFlipRotate(1, 2, False, 10.0)]


def test_batches_hold_what_they_promise() -> None:
    loader = digits()
    batches = list(loader.epoch(2))
    assert [len(batch.targets) for batch in batches] == [64] * 5 + [27]
    assert len(loader) == len(batches)
    for batch in batches:
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape == (len(batch.targets), 3, 16, 16)
        assert batch.targets.dtype == torch.int64
        assert batch.sample_ids.shape == (len(batch.targets), 3)
        assert np.array_equal(loader.targets[batch.sample_ids[:, 1]], batch.targets.numpy())
    assert sorted(np.concatenate([batch.sample_ids[:, 1] for batch in batches])) == list(range(347))


def test_a_validation_part_is_taken_from_the_training_images_of_every_class() -> None:
    loader = digits(validation_split=0.2)
    validation, test = loader.split_validation(), loader.of_split("test")
    held_out = np.bincount(validation.targets, minlength=10)
    assert (held_out + loader.cls_num_list).tolist() == DIGITS
    assert np.abs(held_out - 0.2 * np.array(DIGITS)).max() <= 0.5
    assert held_out.min() >= 1
    for split in (loader, validation, test):
        assert split.cls_num_list == loader.cls_num_list  # the prior of what is trained on
    assert np.bincount(test.targets).tolist() == [50] * 10
    training, validating = (
        {image.numpy().tobytes() for batch in part for image in batch.images} for part in (loader, validation)
    )
    assert not training & validating


def test_without_a_validation_part_validation_is_the_test_split() -> None:
    loader = digits()
    assert same_inputs(inputs(loader.split_validation(), 0), inputs(loader.of_split("test"), 0))


def test_evaluation_is_in_file_order_and_not_augmented_whatever_the_arguments() -> None:
    plain = inputs(digits().of_split("test"), 0)
    loader = digits(balanced=True, shuffle=True, randaugm=True, cutout=True, seed=9)
    next(loader.epoch(0))  # what training has set up is not handed on
    for epoch in (0, 3):
        test = inputs(loader.of_split("test"), epoch)
        assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(test, plain, strict=True))
        assert np.concatenate([sample_ids[:, 1] for _, _, sample_ids in test]).tolist() == list(range(500))


def test_a_loader_that_is_not_training_yields_the_test_split_and_knows_the_training_counts() -> None:
    loader = digits(training=False)
    assert loader.num_images == 500
    assert loader.cls_num_list == DIGITS
    assert same_inputs(inputs(loader, 0), inputs(digits().of_split("test"), 0))


@pytest.mark.parametrize(("retain", "length"), [(True, 347), (False, 1200)])
def test_balanced_loading_shows_every_class_equally_often(retain: bool, length: int) -> None:
    loader = digits(balanced=True, retain_epoch_size=retain)
    counts = np.bincount(targets_of(loader.epoch(0)))
    assert counts.sum() == loader.num_images == length
    assert counts.max() - counts.min() <= 1
    assert len(loader) == -(-length // 64)
    assert loader.cls_num_list == DIGITS


def test_without_shuffling_training_comes_in_order_but_augmented() -> None:
    loader = digits(shuffle=False)
    (first, second) = (inputs(loader, epoch) for epoch in (0, 1))
    for epoch in (first, second):
        assert np.concatenate([sample_ids[:, 1] for _, _, sample_ids in epoch]).tolist() == list(range(347))
    assert not torch.equal(first[0][0], second[0][0])


def test_splits_share_what_has_been_read() -> None:
    loader = digits()
    test = loader.of_split("test")
    assert test.splits is loader.splits
    assert test.of_split("validation").of_split("test").splits is loader.splits
    assert loader.split == "train"
