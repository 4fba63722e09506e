"""CIFAR's loaders: the benchmark's images, counts, shifts and transforms."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_loader.array_loaders import ArrayDataLoader
from data_loader.data_loaders.cifar import (
    CIFAR100DataLoader,
    ImbalanceCIFAR10DataLoader,
    ImbalanceCIFAR100DataLoader,
    TestAgnosticImbalanceCIFAR100DataLoader,
    read_cifar,
)
from data_loader.transforms.auto_augment import AutoAugment
from data_loader.transforms.batch_transforms import CropFlipRotate, Cutout, Normalise
from data_loader.transforms.image_policies import TrivialAugmentWide
from tests.data_loader.cifar_files import write_cifar
from tests.data_loader.epochs import inputs, targets_of
from utils.errors import UserError

LT, BALANCED = (
    ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
)


@pytest.fixture(scope="module")
def cifar_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-100 and CIFAR-10 in full size, synthetic."""
    folder = tmp_path_factory.mktemp("cifar")
    write_cifar(folder, 100)
    write_cifar(folder, 10)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _files_are_read_once() -> Iterator[None]:
    """The reader itself is tested elsewhere; here each file is read once, however many loaders want it."""
    read = functools.cache(read_cifar)
    kinds = [CIFAR100DataLoader, ImbalanceCIFAR100DataLoader, TestAgnosticImbalanceCIFAR100DataLoader]
    with pytest.MonkeyPatch.context() as patch:
        for kind in (*kinds, ImbalanceCIFAR10DataLoader):
            num_classes = 10 if kind is ImbalanceCIFAR10DataLoader else 100
            patch.setattr(kind, "spec", replace(kind.spec, read=functools.partial(read, num_classes=num_classes)))
        yield


@pytest.mark.parametrize(("ratio", "total"), [(10, 19_573), (50, 12_608), (100, 10_847)])
def test_every_split_of_cifar_100_lt_knows_the_training_counts(cifar_files: Path, ratio: int, total: int) -> None:
    loader = ImbalanceCIFAR100DataLoader(data_dir=str(cifar_files), batch_size=128, imb_factor=1 / ratio, verify=False)
    expected = [int(500 * (1 / ratio) ** (i / 99)) for i in range(100)]
    assert sum(expected) == total
    assert len(loader.targets) == loader.num_images == total
    for split in (loader, loader.split_validation(), loader.of_split("test")):
        assert split.cls_num_list == expected
        assert split.num_classes == 100
    for split in (loader.split_validation(), loader.of_split("test")):
        assert np.bincount(split.targets).tolist() == [100] * 100
        assert split.num_images == 10_000
    assert len(loader) == -(-total // 128)
    assert len(loader.of_split("test")) == 79


def test_the_images_of_cifar_100_lt_are_the_benchmarks(cifar_files: Path) -> None:
    loader = ImbalanceCIFAR100DataLoader(data_dir=str(cifar_files), batch_size=500, shuffle=False, verify=False)
    everything = loader.spec.read(str(cifar_files), train=True, verify=False)
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
    loader = ImbalanceCIFAR100DataLoader(data_dir=str(cifar_files), batch_size=1000, verify=False).of_split("test")
    everything = loader.spec.read(str(cifar_files), train=False, verify=False)
    (first, *_) = inputs(loader, 5)
    assert targets_of(loader.epoch(0)).tolist() == everything.targets.tolist()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))
    torch.testing.assert_close(first[0], (everything.images[:1000] / 255 - mean) / std, rtol=0, atol=1e-5)


def test_cifar_10_lt_has_its_published_counts(cifar_files: Path) -> None:
    loader = ImbalanceCIFAR10DataLoader(data_dir=str(cifar_files), batch_size=128, imb_factor=0.01, verify=False)
    assert loader.cls_num_list == [int(5000 * 0.01 ** (i / 9)) for i in range(10)]
    assert loader.num_images == 12_406
    assert loader.class_names[9] == "truck"
    assert np.bincount(loader.of_split("test").targets).tolist() == [1000] * 10


def test_balanced_cifar_100_keeps_all_images_unless_capped(cifar_files: Path) -> None:
    plain = CIFAR100DataLoader(data_dir=str(cifar_files), batch_size=128, verify=False)
    assert plain.cls_num_list == [500] * 100
    capped = CIFAR100DataLoader(data_dir=str(cifar_files), batch_size=128, verify=False, max_per_class=7)
    assert capped.cls_num_list == [7] * 100
    assert capped.of_split("test").num_images == 10_000


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
            assert loader.of_split("test").num_images == total
            assert sum(loader.of_split("test").cls_num_list) == 10_847  # the training counts, not the shifted ones
        counts = [np.bincount(loader.of_split("test").targets, minlength=100) for loader in (forward, backward)]
        assert counts[0].tolist() == [int(100 * (1 / ratio) ** (i / 99)) for i in range(100)]
        assert counts[1].tolist() == counts[0].tolist()[::-1]


def test_without_a_shift_the_test_split_is_whole_and_in_file_order(cifar_files: Path) -> None:
    loader = TestAgnosticImbalanceCIFAR100DataLoader(data_dir=str(cifar_files), batch_size=128, verify=False)
    everything = loader.spec.read(str(cifar_files), train=False, verify=False)
    assert sorted(loader.of_split("test").targets) == sorted(everything.targets)


@pytest.mark.usefixtures("no_network")
def test_files_of_another_origin_are_never_trained_on_unasked(cifar_files: Path) -> None:
    loader = ImbalanceCIFAR100DataLoader(data_dir=str(cifar_files), batch_size=128)
    for look in (lambda: loader.cls_num_list, lambda: next(loader.epoch(0)), lambda: loader.of_split("test")):
        with pytest.raises(UserError, match=r"no intact CIFAR-100, .*verify=false") as caught:
            look()
        assert "\n" not in str(caught.value)


def chain_of(loader: ArrayDataLoader) -> list[Any]:
    pipeline = loader.pipelines["train"]
    return [*pipeline.in_worker, *pipeline.on_device]


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
        return chain_of(loader)

    whole = kind(data_dir=str(cifar_files), batch_size=8, verify=False)  # type: ignore[call-arg]
    plain, strong = CropFlipRotate(1, 4, True, 15.0), CropFlipRotate(1, 4, True, 0.0)
    end = Normalise(*normalisation)
    assert chain() == [plain, end]
    assert chain(randaugm=True) == [strong, AutoAugment(1), end]
    assert chain(trivialaugm=True) == [strong, TrivialAugmentWide(1), end]
    assert chain(randaugm=True, trivialaugm=True) == [strong, TrivialAugmentWide(1), end]
    assert chain(randaugm=True, cutout=True) == [strong, AutoAugment(1), Cutout(1, 16), end]
    assert chain(cutout=True) == [strong, Cutout(1, 16), end]
    assert chain_of(whole.of_split("test")) == [end]


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
    differing = (cropped != augmented.images).flatten(1).any(dim=1).float().mean()
    assert 0.5 < differing < 1  # some operations of the policy are drawn with a probability, some change nothing


@pytest.mark.parametrize(
    ("kind", "policy"), [(ImbalanceCIFAR10DataLoader, []), (ImbalanceCIFAR100DataLoader, [AutoAugment(1)])]
)
def test_published_is_crop_and_flip_alone_on_cifar_10_and_the_policy_on_cifar_100(
    cifar_files: Path, kind: type[ArrayDataLoader], policy: list[Any]
) -> None:
    def chain(**arguments: Any) -> list[Any]:
        loader = kind(data_dir=str(cifar_files), batch_size=8, verify=False, **arguments)  # type: ignore[call-arg]
        return list(loader.augmentation("train"))

    crop = CropFlipRotate(1, 4, True, 0.0)
    assert chain(randaugm="published") == [crop, *policy]
    assert chain(randaugm="published", cutout=True) == [crop, *policy, Cutout(1, 16)]
    assert chain(randaugm="published", trivialaugm=True) == [crop, TrivialAugmentWide(1)]
