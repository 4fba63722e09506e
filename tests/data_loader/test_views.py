"""Views of an image: the configured one is the old chain, weak and strong ones are their own, all repeat to the bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from base import VIEWS, View
from data_loader import data_loaders
from data_loader.data_loaders.digits import ImbalanceDigitsDataLoader
from data_loader.datasets.image_sets import ImageSet
from data_loader.datasets.splits import Splits
from data_loader.loader import ImageDataLoader
from tests.data_loader.epochs import digits

Build = Callable[..., ImageDataLoader]
every_loader = pytest.mark.parametrize("name", data_loaders.__all__)


def views_of(loader: ImageDataLoader, *views: View, prepared: tuple[View, ...] = ()) -> dict[View, Tensor]:
    """Each view of the images of epoch 1, in the order of the samples."""
    loader.prepare_views(prepared or views)
    batches = list(loader.epoch(1))
    order = np.argsort(np.concatenate([batch.sample_ids[:, 1] for batch in batches]))
    return {view: torch.cat([batch.view(view) for batch in batches])[torch.from_numpy(order)] for view in views}


def part_that_differs(first: Tensor, second: Tensor) -> float:
    return float((first != second).flatten(1).any(dim=1).float().mean())


@every_loader
@pytest.mark.parametrize("randaugm", [False, True])
def test_train_is_the_configured_chain_whoever_does_it(build: Build, name: str, randaugm: bool) -> None:
    plain = views_of(build(name, randaugm=randaugm), "train")["train"]
    loader = build(name, randaugm=randaugm)
    loader.prepare_views(VIEWS)
    batches = list(loader.epoch(1))
    for batch in batches:
        images = batch.images  # raw
        for transform in loader.augmentation("train"):
            images = transform(images, batch.sample_ids)
        expected = loader.normalisation()(images, batch.sample_ids)
        torch.testing.assert_close(batch.view("train"), expected, rtol=0, atol=1e-3)
    assert torch.equal(views_of(loader, "train", prepared=VIEWS)["train"], plain)


@every_loader
def test_views_of_an_image_differ_and_repeat_to_the_bit(build: Build, name: str) -> None:
    views = views_of(build(name), *VIEWS)
    again = views_of(build(name, num_workers=2, batch_size=23), *VIEWS)
    for view in VIEWS:
        assert torch.equal(views[view], again[view])
        assert views[view].dtype == torch.float32
    for first, second in (("weak", "strong"), ("train", "weak"), ("train", "strong"), ("weak", "test")):
        assert part_that_differs(views[first], views[second]) > 0.25, (first, second)  # type: ignore[index]


@every_loader
@pytest.mark.parametrize("view", ["weak", "strong"])
def test_a_view_alone_is_begun_by_the_workers_and_the_same(build: Build, name: str, view: View) -> None:
    together = views_of(build(name), view, prepared=("weak", "strong"))[view]
    assert torch.equal(views_of(build(name, num_workers=2), view)[view], together)


@every_loader
def test_a_view_depends_on_no_neighbour(build: Build, name: str) -> None:
    loader = build(name)
    loader.prepare_views(("weak", "strong"))
    batch = next(loader.epoch(0))
    for view in ("weak", "strong"):
        whole = batch.view(view)  # type: ignore[arg-type]
        for row in (0, 11, len(whole) - 1):
            one = slice(row, row + 1)
            assert torch.equal(loader.transform(batch.images[one], batch.sample_ids[one], view), whole[one])  # type: ignore[arg-type]
        parts = [part.view(view) for part in batch.split(3)]  # type: ignore[arg-type]
        assert len(parts) == 3
        assert torch.equal(torch.cat(parts), whole)


@every_loader
def test_what_is_evaluated_is_not_augmented_unless_asked(build: Build, name: str) -> None:
    for split in ("validation", "test"):
        loader = build(name, randaugm=True).of_split(split)
        for batch in loader.epoch(0):
            expected = loader.normalisation()(batch.images, batch.sample_ids)
            assert torch.equal(batch.view(), expected)
            assert torch.equal(batch.view("test"), expected)
        assert part_that_differs(batch.view("weak"), expected) > 0.2


def test_the_weak_view_in_memory_is_a_crop_of_the_padded_image() -> None:
    loader = digits(randaugm=True, cutout=True)
    loader.prepare_views(("weak",))
    batch = next(loader.epoch(0))
    padded = pad(batch.images, (2, 2, 2, 2))
    crops = torch.stack([padded[:, :, y : y + 16, x : x + 16] for y in range(5) for x in range(5)], 1)  # [B, 25, …]
    normalised = loader.normalisation()(crops.flatten(0, 1), np.zeros((len(padded) * 25, 3), np.int64))
    matches = (normalised.view_as(crops) - batch.view("weak")[:, None]).abs().amax((2, 3, 4)) < 1e-6
    assert matches.any(dim=1).all()
    assert len(matches.float().argmax(dim=1).unique()) > 15, "all over the place"


def test_the_strong_view_in_memory_has_a_hole() -> None:
    loader = digits()
    loader.prepare_views(("weak", "strong"))
    batch = next(loader.epoch(0))
    black = loader.normalisation()(torch.zeros(1, 3, 1, 1, dtype=torch.uint8), np.zeros((1, 3), np.int64))
    holes = (batch.view("strong") == black).all(dim=1).float()  # [B, H, W]
    largest = torch.nn.functional.avg_pool2d(holes, 4, stride=1).amax((1, 2))  # clipped at a corner it is 4×4
    assert (largest == 1).all()


def test_the_weak_view_of_files_is_the_crop_or_its_mirror_image(build: Build) -> None:
    loader = build("ImageListDataLoader")
    loader.prepare_views(("weak",))
    batch = next(loader.epoch(0))
    weak, normalise = batch.view("weak"), loader.normalisation()
    plain, mirrored = (normalise(images, batch.sample_ids) for images in (batch.images, batch.images.flip(-1)))
    is_plain, is_mirrored = ((weak == images).flatten(1).all(1) for images in (plain, mirrored))
    assert (is_plain | is_mirrored).all()
    assert 0.2 < is_plain.float().mean() < 0.8


def test_training_files_for_the_test_view_alone_are_cut_in_the_middle(build: Build) -> None:
    loader = build("ImageListDataLoader")
    middle = views_of(loader, "test")["test"]
    images = loader.splits["train"]
    raw = images.read(np.stack([np.array([0, index, 0]) for index in range(len(images))]))
    assert torch.equal(middle, loader.normalisation()(raw, np.zeros((len(raw), 3), np.int64)))


def test_a_view_that_the_workers_did_not_prepare_is_refused() -> None:
    loader = digits(randaugm=True)
    batch = next(loader.epoch(0))
    batch.view("train")
    with pytest.raises(RuntimeError, match=r"for the view 'train', not for 'weak': call prepare_views"):
        batch.view("weak")
    with pytest.raises(RuntimeError, match="an epoch has begun"):
        loader.prepare_views(("weak",))
    loader.prepare_views(("train",))
    next(digits().epoch(0)).view("weak")  # nothing is done by workers here: the images are raw


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_slow_transforms_of_images_on_a_gpu_give_what_they_give_on_the_cpu(build: Build) -> None:
    loader = build("ImageListDataLoader", randaugm=True)
    loader.prepare_views(VIEWS)
    batch = next(loader.epoch(0))
    on_device = batch.to(torch.device("cuda"))
    for view in VIEWS:
        assert on_device.view(view).is_cuda
        # a pixel of 255 where the jitter before RandAugment is rounded to another one
        differing = (on_device.view(view).cpu() - batch.view(view)).abs() > 1e-4
        assert differing.float().mean() < 0.01


def test_loaders_of_other_splits_are_prepared_for_one_view_again() -> None:
    loader = digits(randaugm=True)
    loader.prepare_views(("weak", "strong"))
    assert loader.of_split("validation").views == ("train",)
    assert loader.views == ("weak", "strong")


# --- a further split that is trained on -------------------------------------------------------------------------


class WithUnlabelled(ImbalanceDigitsDataLoader):
    """The training images once more, as if their labels were unknown."""

    def load_splits(self) -> Splits[ImageSet]:
        splits = super().load_splits()
        return splits.replaced(unlabelled=splits["train"])


def test_a_further_split_is_shuffled_and_augmented_independently_of_the_same_images_in_train() -> None:
    train = WithUnlabelled(batch_size=1000, num_workers=0)
    unlabelled = train.of_split("unlabelled")
    assert not unlabelled.is_evaluated
    orders = [loader.epoch_sample_ids(epoch)[:, 1].tolist() for loader in (train, unlabelled) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert all(sorted(order) == list(range(347)) for order in orders)
    for view in ("train", "weak"):
        first, second = (views_of(loader, view, prepared=("train", "weak"))[view] for loader in (train, unlabelled))  # type: ignore[arg-type, index]
        assert part_that_differs(first, second) > 0.9
    assert train.epoch_sample_ids(0).tolist() == digits().epoch_sample_ids(0).tolist(), "train is as it was without it"


def test_balanced_sampling_is_for_the_labelled_split() -> None:
    train = WithUnlabelled(batch_size=64, num_workers=0, balanced=True, retain_epoch_size=False)
    assert (train.num_images, train.of_split("unlabelled").num_images) == (1200, 347)
