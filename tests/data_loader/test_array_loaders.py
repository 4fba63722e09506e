"""The loaders of data sets in memory: the right images, splits, counts and transforms, whoever does the work."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from base import Batch
from data_loader import data_loaders
from data_loader.array_loaders import ArrayDataLoader
from data_loader.data_loaders import (
    CIFAR100DataLoader,
    ImbalanceCIFAR10DataLoader,
    ImbalanceCIFAR100DataLoader,
    ImbalanceDigitsDataLoader,
    ImbalanceFashionMNISTDataLoader,
    TestAgnosticImbalanceCIFAR100DataLoader,
)
from data_loader.datasets.archives import read_cifar, read_digits, read_fashion_mnist
from data_loader.transforms.batch_transforms import CropFlipRotate, Cutout, Normalise
from data_loader.transforms.image_policies import ImagePolicy
from tests.data_loader.cifar_files import write_cifar, write_fashion_mnist
from utils.errors import UserError

DIGITS = [120, 79, 52, 35, 23, 15, 10, 6, 4, 3]


@pytest.fixture(scope="module")
def cifar_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-100 and CIFAR-10 in full size, synthetic."""
    folder = tmp_path_factory.mktemp("cifar")
    write_cifar(folder, 100)
    write_cifar(folder, 10)
    return folder


@pytest.fixture(scope="module")
def fashion_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fashion_mnist(tmp_path_factory.mktemp("fashion"), train_images=600, test_images=100)


@pytest.fixture(scope="module", autouse=True)
def _files_are_read_once() -> Iterator[None]:
    """The readers themselves are tested elsewhere; here each file is read once, however many loaders want it."""
    cifar, fashion, digits_reader = (functools.cache(read) for read in (read_cifar, read_fashion_mnist, read_digits))
    readers = {
        ImbalanceCIFAR10DataLoader: functools.partial(cifar, num_classes=10),
        ImbalanceCIFAR100DataLoader: functools.partial(cifar, num_classes=100),
        TestAgnosticImbalanceCIFAR100DataLoader: functools.partial(cifar, num_classes=100),
        CIFAR100DataLoader: functools.partial(cifar, num_classes=100),
        ImbalanceFashionMNISTDataLoader: fashion,
        ImbalanceDigitsDataLoader: digits_reader,
    }
    with pytest.MonkeyPatch.context() as patch:
        for kind, read in readers.items():
            patch.setattr(kind, "recipe", replace(kind.recipe, read=read))
        yield


def digits(**arguments: Any) -> ImbalanceDigitsDataLoader:
    return ImbalanceDigitsDataLoader(**{"batch_size": 64, "num_workers": 0, **arguments})


def inputs(loader: ArrayDataLoader, epoch: int, **arguments: int) -> list[tuple[Tensor, Tensor, np.ndarray]]:
    """Everything that an epoch gives a network, transforms done."""
    return [
        (loader.transform(batch.images, batch.sample_ids), batch.targets, batch.sample_ids)
        for batch in loader.epoch(epoch, **arguments)
    ]


def same_inputs(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) and np.array_equal(a[2], b[2])
        for a, b in zip(first, second, strict=True)
    )


def targets_of(batches: Iterator[Batch]) -> np.ndarray:
    return np.concatenate([batch.targets.numpy() for batch in batches])


# --- counts and images of CIFAR ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "total"), [(10, 19_573), (50, 12_608), (100, 10_847)])
def test_every_split_of_cifar_100_lt_knows_the_training_counts(cifar_files: Path, ratio: int, total: int) -> None:
    loader = ImbalanceCIFAR100DataLoader(data_dir=str(cifar_files), batch_size=128, imb_factor=1 / ratio, verify=False)
    expected = [int(500 * (1 / ratio) ** (i / 99)) for i in range(100)]
    assert sum(expected) == total
    assert len(loader.targets) == loader.num_images == total
    for split in (loader, loader.split_validation(), loader.split_test()):
        assert split.cls_num_list == expected
        assert split.num_classes == 100
    for split in (loader.split_validation(), loader.split_test()):
        assert np.bincount(split.targets).tolist() == [100] * 100
        assert split.num_images == 10_000
    assert len(loader) == -(-total // 128)
    assert len(loader.split_test()) == 79


def test_the_images_of_cifar_100_lt_are_the_benchmarks(cifar_files: Path) -> None:
    loader = ImbalanceCIFAR100DataLoader(data_dir=str(cifar_files), batch_size=500, shuffle=False, verify=False)
    everything = loader.recipe.read(str(cifar_files), train=True, verify=False)
    assert np.bincount(everything.targets).tolist() == [500] * 100
    chosen: list[int] = []
    np.random.seed(0)
    for label in range(100):
        indices = np.where(everything.targets == label)[0]
        np.random.shuffle(indices)
        chosen.extend(indices[: int(500 * 0.01 ** (label / 99))].tolist())
    assert loader.targets.tolist() == everything.targets[chosen].tolist()
    assert torch.equal(torch.cat([batch.images for batch in loader]), everything.images[chosen])


def test_the_test_split_is_untouched(cifar_files: Path) -> None:
    loader = ImbalanceCIFAR100DataLoader(data_dir=str(cifar_files), batch_size=1000, verify=False).split_test()
    everything = loader.recipe.read(str(cifar_files), train=False, verify=False)
    (first, *_) = inputs(loader, 5)
    assert targets_of(loader.epoch(0)).tolist() == everything.targets.tolist()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))
    torch.testing.assert_close(first[0], (everything.images[:1000] / 255 - mean) / std, rtol=0, atol=1e-5)


def test_cifar_10_lt_has_its_published_counts(cifar_files: Path) -> None:
    loader = ImbalanceCIFAR10DataLoader(data_dir=str(cifar_files), batch_size=128, imb_factor=0.01, verify=False)
    assert loader.cls_num_list == [int(5000 * 0.01 ** (i / 9)) for i in range(10)]
    assert loader.num_images == 12_406
    assert loader.class_names[9] == "truck"
    assert np.bincount(loader.split_test().targets).tolist() == [1000] * 10


def test_balanced_cifar_100_keeps_all_images_unless_capped(cifar_files: Path) -> None:
    plain = CIFAR100DataLoader(data_dir=str(cifar_files), batch_size=128, verify=False)
    assert plain.cls_num_list == [500] * 100
    capped = CIFAR100DataLoader(data_dir=str(cifar_files), batch_size=128, verify=False, max_per_class=7)
    assert capped.cls_num_list == [7] * 100
    assert capped.split_test().num_images == 10_000


def test_shifted_tests_of_cifar_100_have_their_published_sizes(cifar_files: Path) -> None:
    for ratio, total in {2: 7_166, 5: 4_932, 10: 3_876, 25: 2_956, 50: 2_486}.items():
        forward, backward = (
            TestAgnosticImbalanceCIFAR100DataLoader(
                data_dir=str(cifar_files), batch_size=128, verify=False, test_imb_factor=1 / ratio, reverse=reverse
            )
            for reverse in (False, True)
        )
        for loader in (forward, backward):
            assert loader.num_images == 10_847
            assert loader.split_test().num_images == total
            assert sum(loader.split_test().cls_num_list) == 10_847  # the training counts, not the shifted ones
        counts = [np.bincount(loader.split_test().targets, minlength=100) for loader in (forward, backward)]
        assert counts[0].tolist() == [int(100 * (1 / ratio) ** (i / 99)) for i in range(100)]
        assert counts[1].tolist() == counts[0].tolist()[::-1]


def test_without_a_shift_the_test_split_is_whole_and_in_file_order(cifar_files: Path) -> None:
    loader = TestAgnosticImbalanceCIFAR100DataLoader(data_dir=str(cifar_files), batch_size=128, verify=False)
    everything = loader.recipe.read(str(cifar_files), train=False, verify=False)
    assert sorted(loader.split_test().targets) == sorted(everything.targets)


def test_step_imbalance_and_a_cap_go_together() -> None:
    loader = digits(imb_type="step", imb_factor=0.1, max_per_class=50)
    assert loader.cls_num_list == [50] * 5 + [5] * 5


def test_files_of_another_origin_are_never_trained_on_unasked(
    cifar_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def urlopen(*arguments: object, **options: object) -> None:
        raise OSError("no network in the tests")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    loader = ImbalanceCIFAR100DataLoader(data_dir=str(cifar_files), batch_size=128)
    for look in (lambda: loader.cls_num_list, lambda: next(loader.epoch(0)), loader.split_test):
        with pytest.raises(UserError, match=r"no intact CIFAR-100, .*verify=false") as caught:
            look()
        assert "\n" not in str(caught.value)


# --- digits and Fashion-MNIST -----------------------------------------------------------------------------------


def test_the_long_tailed_digits() -> None:
    loader = digits()
    assert loader.cls_num_list == DIGITS
    assert loader.num_images == 347
    test = loader.split_test()
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
    assert np.bincount(loader.split_test().targets).tolist() == [10] * 10
    batch = next(loader.epoch(0))
    assert batch.images.shape == (32, 3, 28, 28)
    assert loader.transform(batch.images, batch.sample_ids).shape == (32, 3, 28, 28)


# --- transforms -------------------------------------------------------------------------------------------------

LT, BALANCED = (
    ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
)


@pytest.mark.parametrize(
    ("kind", "normalisation"),
    [
        (ImbalanceCIFAR10DataLoader, LT),
        (ImbalanceCIFAR100DataLoader, LT),
        (TestAgnosticImbalanceCIFAR100DataLoader, LT),
        (CIFAR100DataLoader, BALANCED),
    ],
)
def test_cifars_transforms_are_the_published_ones(
    cifar_files: Path, kind: type[ArrayDataLoader], normalisation: tuple[Any, Any]
) -> None:
    def chain(**arguments: bool) -> list[Any]:
        loader = kind(data_dir=str(cifar_files), batch_size=8, verify=False, **arguments)  # type: ignore[call-arg]
        loader.__dict__["splits"] = whole.splits  # read once
        return [*loader.pipeline.in_worker, *loader.pipeline.on_device]

    whole = kind(data_dir=str(cifar_files), batch_size=8, verify=False)  # type: ignore[call-arg]
    plain, strong = CropFlipRotate(1, 4, True, 15.0), CropFlipRotate(1, 4, True, 0.0)
    end = Normalise(*normalisation)
    assert chain() == [plain, end]
    assert chain(randaugm=True) == [strong, ImagePolicy(1, "autoaugment"), end]
    assert chain(trivialaugm=True) == [strong, ImagePolicy(1, "trivialaugment"), end]
    assert chain(randaugm=True, trivialaugm=True) == [strong, ImagePolicy(1, "trivialaugment"), end]
    assert chain(randaugm=True, cutout=True) == [strong, ImagePolicy(1, "autoaugment"), Cutout(1, 16), end]
    assert chain(cutout=True) == [plain, Cutout(1, 16), end]
    test = whole.split_test().pipeline
    assert [*test.in_worker, *test.on_device] == [end]


def test_autoaugment_is_not_silently_off_for_cifar_10(cifar_files: Path) -> None:
    plain, strong = (
        ImbalanceCIFAR10DataLoader(
            data_dir=str(cifar_files), batch_size=256, num_workers=0, verify=False, max_per_class=60, randaugm=randaugm
        )
        for randaugm in (False, True)
    )
    (raw, *_), (augmented, *_) = plain.epoch(0), strong.epoch(0)
    assert np.array_equal(raw.sample_ids, augmented.sample_ids)
    cropped = CropFlipRotate(1, 4, True, 0.0)(raw.images, raw.sample_ids)
    different = (cropped != augmented.images).flatten(1).any(dim=1).float().mean()
    assert 0.5 < different < 1  # some operations of the policy are drawn with a probability, some change nothing


@pytest.mark.parametrize(("size", "kind"), [(8, "digits"), (14, "fashion")])
def test_the_hole_has_half_the_images_side(fashion_files: Path, size: int, kind: str) -> None:
    loader: ArrayDataLoader = (
        digits(cutout=True)
        if kind == "digits"
        else ImbalanceFashionMNISTDataLoader(data_dir=str(fashion_files), batch_size=8, verify=False, cutout=True)
    )
    assert Cutout(1, size) in loader.augmentation()


def test_digits_are_never_mirrored() -> None:
    assert digits().augmentation() == [CropFlipRotate(1, 2, False, 10.0)]


# --- the same whoever does the work -----------------------------------------------------------------------------

STRONG: list[dict[str, Any]] = [
    {"randaugm": True, "cutout": True},
    {"trivialaugm": True, "balanced": True},
    {"cutout": True, "balanced": True, "retain_epoch_size": False},
]


@pytest.mark.parametrize("arguments", STRONG, ids=str)
def test_workers_change_nothing(arguments: dict[str, Any]) -> None:
    environment, helped = digits(**arguments, num_workers=0), digits(**arguments, num_workers=2)
    for epoch in (0, 1):
        assert same_inputs(inputs(environment, epoch), inputs(helped, epoch))


def test_batch_size_changes_no_image() -> None:
    small, large = (digits(randaugm=True, cutout=True, batch_size=size) for size in (50, 120))
    images = [torch.cat([batch[0] for batch in inputs(loader, 3)]) for loader in (small, large)]
    assert torch.equal(*images)


def test_epochs_seeds_and_repeats_are_augmented_anew() -> None:
    loader = digits(balanced=True, retain_epoch_size=False, batch_size=2000)
    ((images, targets, sample_ids),) = inputs(loader, 0)
    smallest = targets.numpy() == 9  # three images, each drawn forty times
    assert smallest.sum() == 120
    assert len(np.unique(sample_ids[smallest, 1])) == 3
    assert len(torch.unique(images[torch.from_numpy(smallest)].flatten(1), dim=0)) > 100
    for other in (
        inputs(loader, 1),
        inputs(digits(balanced=True, retain_epoch_size=False, batch_size=2000, seed=2), 0),
    ):
        ((others, _, other_keys),) = other
        first, second = (
            {int(index): image for index, image in zip(k[:, 1], i, strict=True)}
            for k, i in ((sample_ids, images), (other_keys, others))
        )
        differing = sum(not torch.equal(first[index], second[index]) for index in first)
        assert differing > 0.9 * len(first)


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_leaves_the_global_generators_alone(workers: int) -> None:
    torch.default_generator.manual_seed(11)
    np.random.seed(12)
    random.seed(13)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    loader = digits(randaugm=True, cutout=True, num_workers=workers, validation_split=0.1, balanced=True)
    inputs(loader, 0)
    inputs(loader.split_validation(), 0)
    inputs(loader, 1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]
    assert random.getstate() == before[2]


@pytest.mark.parametrize("arguments", [{}, {"balanced": True}, {"randaugm": True, "num_workers": 2}], ids=str)
def test_an_epoch_resumed_at_a_step_goes_on_as_it_would_have(arguments: dict[str, Any]) -> None:
    whole = inputs(digits(**arguments), 4)
    assert len(whole) == 6
    resumed = digits(**arguments)
    for first_step in (0, 2, 5, 6):
        assert same_inputs(inputs(resumed, 4, first_step=first_step), whole[first_step:])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_left_half_way_leaves_no_trace_in_the_next(workers: int) -> None:
    loader = digits(randaugm=True, num_workers=workers)
    expected = inputs(digits(randaugm=True), 1)
    batches = loader.epoch(0)
    next(batches)
    next(batches)
    assert same_inputs(inputs(loader, 1), expected)


def test_two_epochs_side_by_side_do_not_mix() -> None:
    loader = digits()
    expected = [inputs(digits(), epoch) for epoch in (0, 1)]
    pairs = list(zip(loader.epoch(0), loader.epoch(1), strict=True))
    for epoch in (0, 1):
        found = [pair[epoch] for pair in pairs]
        assert all(
            np.array_equal(batch.sample_ids, known[2]) for batch, known in zip(found, expected[epoch], strict=True)
        )


# --- splits and samplers ----------------------------------------------------------------------------------------


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
    validation, test = loader.split_validation(), loader.split_test()
    held = np.bincount(validation.targets, minlength=10)
    assert (held + loader.cls_num_list).tolist() == DIGITS
    assert np.abs(held - 0.2 * np.array(DIGITS)).max() <= 0.5
    assert held.min() >= 1
    for split in (loader, validation, test):
        assert split.cls_num_list == loader.cls_num_list  # the prior of what is trained on
    assert np.bincount(test.targets).tolist() == [50] * 10
    training, validating = (
        {image.numpy().tobytes() for batch in part for image in batch.images} for part in (loader, validation)
    )
    assert not training & validating


def test_without_a_validation_part_validation_is_the_test_split() -> None:
    loader = digits()
    assert same_inputs(inputs(loader.split_validation(), 0), inputs(loader.split_test(), 0))


def test_evaluation_is_in_file_order_and_not_augmented_whatever_the_arguments() -> None:
    plain = inputs(digits().split_test(), 0)
    loader = digits(balanced=True, shuffle=True, randaugm=True, cutout=True, seed=9)
    next(loader.epoch(0))  # what training has set up is not handed on
    for epoch in (0, 3):
        test = inputs(loader.split_test(), epoch)
        assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(test, plain, strict=True))
        assert np.concatenate([sample_ids[:, 1] for _, _, sample_ids in test]).tolist() == list(range(500))


def test_a_loader_that_is_not_training_yields_the_test_split_and_knows_the_training_counts() -> None:
    loader = digits(training=False)
    assert loader.num_images == 500
    assert loader.cls_num_list == DIGITS
    assert same_inputs(inputs(loader, 0), inputs(digits().split_test(), 0))


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
    test = loader.split_test()
    assert test.splits is loader.splits
    assert test.split_validation().split_test().splits is loader.splits
    assert loader.split == "train"


@pytest.mark.parametrize("name", [name for name in data_loaders.__all__ if "CIFAR" in name or "MNIST" in name])
def test_constructing_a_loader_reads_nothing(name: str) -> None:
    loader = getattr(data_loaders, name)(data_dir="/nowhere", batch_size=4)
    assert loader.batch_size == 4
    assert "splits" not in loader.__dict__
