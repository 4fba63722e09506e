"""Chains of transforms: the same in blocks and at once, cut for the workers, and random by sample and view."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from data_loader.transforms import pipeline
from data_loader.transforms.batch_transforms import (
    BatchTransform,
    CropFlipRotate,
    Cutout,
    HorizontalFlip,
    Normalise,
    ValueTransform,
)
from data_loader.transforms.colour import ColourJitter
from data_loader.transforms.pipeline import Pipeline, apply_all
from tests.data_loader.batches import ids_of, pictures
from utils.random_streams import Stream, uniforms

SEED = 3
CIFAR = CropFlipRotate(SEED, padding=4, flip=True, degrees=15.0)


class Named(BatchTransform):
    def __init__(self, number: int, per_image: bool) -> None:
        self.number, self.per_image = number, per_image  # type: ignore[misc]

    def transform(self, images: Tensor, params: object) -> Tensor:
        return images * 10 + self.number


def test_a_chain_applied_in_blocks_gives_what_it_gives_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    images, sample_ids = pictures(37), ids_of(37)
    chain = [CropFlipRotate(3, 4, True, 15.0), Cutout(3, 8), Normalise((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))]
    monkeypatch.setattr(pipeline, "_BLOCK_VALUES", 10**9)
    at_once = apply_all(chain, images, sample_ids)
    for values in (1, 5 * images[0].numel(), 36 * images[0].numel()):
        monkeypatch.setattr(pipeline, "_BLOCK_VALUES", values)
        assert torch.equal(apply_all(chain, images, sample_ids), at_once)


@pytest.mark.parametrize("at_once", [1, 5, 40])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "chain",
    [
        [Normalise((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))],
        [HorizontalFlip(3), ColourJitter(3, 0.4), Normalise((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))],
        [ColourJitter(3, 0.4), HorizontalFlip(3), Normalise((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))],
        [ColourJitter(3, 0.4), Cutout(3, 8)],
        [CIFAR, Cutout(3, 8)],
    ],
    ids=["normalise", "images", "jitter first", "hole last", "uint8"],
)
def test_a_chain_gives_what_its_transforms_give_one_after_the_other(
    chain: list[BatchTransform], memory_format: torch.memory_format, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, sample_ids = pictures(37).contiguous(memory_format=memory_format), ids_of(37)
    before, expected = images.clone(), images
    for transform in chain:
        expected = transform(expected, sample_ids)
    monkeypatch.setattr(pipeline, "_BLOCK_VALUES", at_once * images[0].numel())
    chained = apply_all(chain, images, sample_ids)
    assert chained.dtype == expected.dtype
    assert chained.is_contiguous()
    torch.testing.assert_close(chained, expected, rtol=0, atol=1e-3 if chained.dtype.is_floating_point else 0)
    assert torch.equal(images, before)


@pytest.mark.parametrize("transform", [ColourJitter(SEED, 0.4), Normalise((0.5,) * 3, (0.2,) * 3)], ids=str)
def test_values_changed_in_place_are_those_changed_in_a_copy(transform: ValueTransform) -> None:
    pixels, params = pictures(8).float(), transform.make_params(ids_of(8))
    expected = transform.transform(pixels, params)
    transform.transform_(pixels, params)
    assert torch.equal(pixels, expected)


@pytest.mark.parametrize(
    ("per_image", "in_worker"),
    [([], 0), ([False, False], 0), ([False, True, False], 2), ([True, False, True], 3), ([True, False, False], 1)],
)
def test_a_pipeline_is_cut_behind_its_last_slow_transform_and_keeps_its_order(
    per_image: list[bool], in_worker: int
) -> None:
    chain = [Named(number + 1, slow) for number, slow in enumerate(per_image)]
    cut = Pipeline.of("train", chain)
    assert len(cut.in_worker) == in_worker
    assert [*cut.in_worker, *cut.on_device] == chain
    images, sample_ids = torch.zeros(1, dtype=torch.int64), ids_of(1)
    passed = cut.finish(cut.begin(images, sample_ids), sample_ids)
    assert passed.item() == int("0" + "".join(str(step.number) for step in chain))


def test_every_view_has_random_numbers_of_its_own_and_train_those_of_the_sample_ids() -> None:
    images, sample_ids = pictures(40), ids_of(40)
    before = sample_ids.copy()
    train, weak, strong = (
        Pipeline.of(view, [CIFAR]).finish(images, sample_ids) for view in ("train", "weak", "strong")
    )
    assert torch.equal(train, CIFAR(images, sample_ids))
    for first, second in ((train, weak), (weak, strong), (train, strong)):
        assert (first != second).flatten(1).any(1).float().mean() > 0.9
    assert np.array_equal(sample_ids, before)


class Drawn(BatchTransform):
    """Images of what is drawn for them."""

    def make_params(self, sample_ids: np.ndarray) -> np.ndarray:
        return uniforms(SEED, Stream.GEOMETRY, sample_ids, 1)

    def transform(self, images: Tensor, params: np.ndarray) -> Tensor:
        return torch.from_numpy(params)[:, :, None, None]


def test_views_are_not_those_of_another_repeat_or_split() -> None:
    """Balanced sampling draws an image more than once an epoch, and two splits may hold it."""
    sample_ids = np.stack([np.array([0, 5, repeat]) for repeat in (*range(200), 1 << 27, (1 << 27) + 1, 7 << 27)])
    images = torch.zeros(len(sample_ids), 1, 1, 1, dtype=torch.float64)
    numbers = [Pipeline.of(view, [Drawn()]).finish(images, sample_ids) for view in ("train", "weak", "strong")]
    assert len(torch.unique(torch.cat(numbers))) == 3 * len(sample_ids)
