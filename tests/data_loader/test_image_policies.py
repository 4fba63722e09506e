"""AutoAugment and TrivialAugmentWide: functions of the sample's key alone; the latter is torchvision's."""

from __future__ import annotations

import random
from typing import NoReturn

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from data_loader.transforms.auto_augment import AutoAugment
from data_loader.transforms.image_policies import ImagePolicy, TrivialAugmentWide
from utils.random_streams import Stream, sample_seeds

Policy = type[AutoAugment] | type[TrivialAugmentWide]
POLICIES = (AutoAugment, TrivialAugmentWide)


def keys_of(count: int) -> np.ndarray:
    sample_ids = np.zeros((count, 3), np.int64)
    sample_ids[:, 0], sample_ids[:, 1] = 5, np.arange(count)
    return sample_ids


def pictures(count: int, side: int = 32) -> Tensor:
    random_generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=random_generator)


def test_trivialaugment_is_what_torchvision_makes_of_an_image_under_the_samples_seed() -> None:
    policy = transforms.TrivialAugmentWide(interpolation=transforms.InterpolationMode.BILINEAR)
    images, sample_ids = pictures(20), keys_of(20)
    made = TrivialAugmentWide(7)(images, sample_ids)
    assert made.dtype == torch.uint8
    assert made.shape == images.shape
    assert made.is_contiguous()
    for image, seed, result in zip(images, sample_seeds(7, Stream.POLICY, sample_ids), made, strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            expected = np.asarray(policy(Image.fromarray(image.permute(1, 2, 0).numpy())))
        assert np.array_equal(result.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("kind", POLICIES)
def test_most_images_are_changed_and_each_in_its_own_way(kind: Policy) -> None:
    images = pictures(1).expand(60, -1, -1, -1)
    made = kind(1)(images, keys_of(60))
    assert (made != images).flatten(1).any(dim=1).float().mean() > 0.5
    assert len(torch.unique(made.flatten(1), dim=0)) > 20


@pytest.mark.parametrize("kind", POLICIES)
def test_an_image_does_not_depend_on_its_batch_or_place(kind: Policy) -> None:
    images, sample_ids, policy = pictures(12), keys_of(12), kind(1)
    together = policy(images, sample_ids)
    order = np.random.default_rng(0).permutation(12)
    assert torch.equal(policy(images[order], sample_ids[order]), together[order])
    assert torch.equal(torch.cat([policy(images[:5], sample_ids[:5]), policy(images[5:], sample_ids[5:])]), together)


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("column", [0, 1, 2], ids=["epoch", "index", "repeat"])
def test_epoch_index_and_repeat_each_change_the_policy(kind: Policy, column: int) -> None:
    sample_ids = np.zeros((40, 3), np.int64)
    sample_ids[:, column] = np.arange(40)
    made = kind(1)(pictures(1).expand(40, -1, -1, -1), sample_ids)
    assert len(torch.unique(made.flatten(1), dim=0)) > 12


@pytest.mark.parametrize("kind", POLICIES)
def test_global_generators_are_left_alone(kind: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    def seed_gpus(seed: int) -> NoReturn:
        raise AssertionError("the generators of the GPUs are seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seed_gpus)
    torch.default_generator.manual_seed(11)
    before = (torch.get_rng_state().clone(), np.random.get_state()[1].copy(), random.getstate())  # type: ignore[index]
    kind(1)(pictures(4), keys_of(4))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]
    assert random.getstate() == before[2]


@pytest.mark.parametrize("kind", POLICIES)
def test_small_images_keep_their_size(kind: Policy) -> None:
    assert kind(1)(pictures(30, 16), keys_of(30)).shape == (30, 3, 16, 16)


@pytest.mark.parametrize("kind", POLICIES)
def test_unrounded_images_are_rounded_to_pixels(kind: Policy) -> None:
    images, sample_ids = pictures(10), keys_of(10)
    policy: ImagePolicy = kind(1)
    assert torch.equal(policy(images.float() + 0.3, sample_ids), policy(images, sample_ids))
