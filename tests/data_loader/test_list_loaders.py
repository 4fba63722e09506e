import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from data_loader.data_loaders.image_lists import ImageListDataLoader
from data_loader.data_loaders.imagenet_lt import ImageNetLTDataLoader
from data_loader.data_loaders.inaturalist import iNaturalistDataLoader
from data_loader.data_loaders.places_lt import PlacesLTDataLoader
from data_loader.lists import manifest
from data_loader.lists.manifest import PublishedFile, git_blob_sha1
from data_loader.transforms.rand_augment import RandAugment
from tests.data_loader import image_trees
from utils.config.schema import fields_of
from utils.errors import UserError

PRESETS = {
    ImageNetLTDataLoader: image_trees.write_imagenet_lt,
    iNaturalistDataLoader: image_trees.write_inaturalist,
    PlacesLTDataLoader: image_trees.write_places_lt,
}
SMALL = {"batch_size": 16, "image_size": 28, "num_workers": 0}


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    return {preset: write(tmp_path_factory.mktemp("tree")) for preset, write in PRESETS.items()}


@pytest.fixture
def own_tree(tmp_path):
    """A tree that a test may spoil."""
    return image_trees.write_imagenet_lt(tmp_path, train_counts=(6, 4, 1), test_per_class=3)


def epoch_of(loader, epoch=0):
    batches = list(loader.epoch(epoch))
    images = torch.cat([batch.view() for batch in batches])
    return images, torch.cat([batch.targets for batch in batches])


@pytest.mark.parametrize("preset", PRESETS)
def test_counts_and_splits_are_those_of_the_lists(trees, preset):
    tree = trees[preset]
    loader = preset(**tree.args, **SMALL)
    assert loader.cls_num_list == tree.class_counts == list(image_trees.LONG_TAIL)
    assert loader.num_classes == 10
    sizes = {ImageNetLTDataLoader: (20, 80), iNaturalistDataLoader: (30, 30), PlacesLTDataLoader: (20, 100)}[preset]
    assert (len(loader.split_validation().targets), len(loader.of_split("test").targets)) == sizes
    images, targets = epoch_of(loader)
    assert images.shape == (sum(tree.class_counts), 3, 28, 28)
    assert images.dtype == torch.float32
    np.testing.assert_array_equal(np.bincount(targets), tree.class_counts)


@pytest.mark.parametrize(
    ("preset", "num_classes", "mean", "train_txt"),
    [
        (ImageNetLTDataLoader, 1000, (0.485, 0.456, 0.406), "./data_txt/ImageNet_LT/ImageNet_LT_train.txt"),
        (PlacesLTDataLoader, 365, (0.485, 0.456, 0.406), "./data_txt/Places_LT_v2/Places_LT_train.txt"),
        (iNaturalistDataLoader, 8142, (0.466, 0.471, 0.380), "./data_txt/iNaturalist18/iNaturalist18_train.txt"),
    ],
)
def test_presets_and_the_published_arguments(preset, num_classes, mean, train_txt):
    loader = preset(
        data_dir="nowhere", batch_size=64, shuffle=True, num_workers=12, training=True, balanced=False,
        retain_epoch_size=True, randaugm=True,
    )  # fmt: skip
    assert (loader.num_classes, loader.mean, loader.train_txt, loader.image_size) == (num_classes, mean, train_txt, 224)


def test_the_general_loader_needs_its_lists_and_classes():
    required = {name for name, argument in fields_of(ImageListDataLoader).items() if argument.required}
    assert required == {"data_dir", "batch_size", "train_txt", "test_txt", "num_classes"}


def test_test_images_are_resized_to_256_of_224_and_cut_in_the_middle(trees):
    tree = trees[ImageNetLTDataLoader]
    loader = ImageNetLTDataLoader(**tree.args, **SMALL).of_split("test")
    images, _ = epoch_of(loader)
    reference = transforms.Compose(
        [
            transforms.Resize(32),
            transforms.CenterCrop(28),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    for index in (0, 13, 79):
        with Image.open(loader.images.path(index)) as picture:
            expected = reference(picture.convert("RGB"))
        assert (images[index] - expected).abs().max() < 2.5 / 255 / 0.224  # decoding and resizing, 2 of 255


@pytest.mark.parametrize(
    ("preset", "options", "names"),
    [
        (ImageNetLTDataLoader, {}, ["HorizontalFlip", "ColourJitter"]),
        (iNaturalistDataLoader, {}, ["HorizontalFlip"]),
        (iNaturalistDataLoader, {"randaugm": True}, ["HorizontalFlip", "ColourJitter", "RandAugment"]),
        (PlacesLTDataLoader, {"randaugm": True}, ["HorizontalFlip", "ColourJitter", "RandAugment"]),
        (PlacesLTDataLoader, {"color_jitter": False}, ["HorizontalFlip"]),
    ],
)
def test_augmentations_of_the_data_sets(trees, preset, options, names):
    loader = preset(**trees[preset].args, **SMALL, **options)
    assert [type(transform).__name__ for transform in loader.augmentation("train")] == names
    pipeline = loader.pipelines["train"]
    assert [type(t).__name__ for t in pipeline.on_device][-1] == "Normalise"
    assert any(isinstance(t, RandAugment) for t in pipeline.in_worker) == ("RandAugment" in names)
    assert loader.of_split("test").pipelines["train"].in_worker == ()


@pytest.mark.parametrize("options", [{}, {"randaugm": True, "balanced": True}])
def test_the_number_of_workers_makes_no_difference(trees, options):
    runs = []
    for workers in (0, 2):
        loader = PlacesLTDataLoader(**trees[PlacesLTDataLoader].args, **{**SMALL, "num_workers": workers}, **options)
        runs.append([epoch_of(loader, epoch) for epoch in (0, 1)])
    for (images, targets), (others, other_targets) in zip(*runs, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(targets, other_targets)
    assert not torch.equal(runs[0][0][0], runs[0][1][0])  # another epoch


def test_held_out_training_images_are_not_augmented(trees):
    tree = trees[PlacesLTDataLoader]
    loader = PlacesLTDataLoader(**tree.args, **SMALL, validation_split=0.2)
    validation = loader.split_validation()
    assert len(validation.targets) + sum(loader.cls_num_list) == sum(tree.class_counts)
    assert all(torch.equal(*pair) for pair in zip(epoch_of(validation, 0), epoch_of(validation, 1), strict=True))


def test_max_per_class_caps_the_training_classes_only(trees):
    tree = trees[iNaturalistDataLoader]
    loader = iNaturalistDataLoader(**tree.args, **SMALL, max_per_class=6)
    assert loader.cls_num_list == [min(count, 6) for count in tree.class_counts]
    assert len(loader.of_split("test").targets) == 30


def test_class_names_are_folder_names_where_these_tell_classes_apart(trees, tmp_path):
    assert PlacesLTDataLoader(**trees[PlacesLTDataLoader].args, **SMALL).class_names[1] == "alley"
    (tmp_path / "a.txt").write_text("same/a.jpg 0\nsame/b.jpg 1\n")
    lists = {"train_txt": str(tmp_path / "a.txt"), "test_txt": str(tmp_path / "a.txt")}
    assert ImageListDataLoader(data_dir="", num_classes=3, **lists, **SMALL).class_names == ["0", "1", "2"]


def test_without_a_validation_list_the_test_images_serve(trees):
    args = {**trees[PlacesLTDataLoader].args, "val_txt": None}
    loader = ImageListDataLoader(**args, **SMALL)
    np.testing.assert_array_equal(loader.split_validation().targets, loader.of_split("test").targets)


def test_lists_of_shifts_are_found_by_path_and_published_ones_told_by_their_content(own_tree, monkeypatch):
    loader = ImageNetLTDataLoader(**own_tree.args, **SMALL)
    assert loader.listed_shift("forward", 50) is None
    lines = [line + "\n" for line in _lines(own_tree.args["test_txt"])]
    chosen = [7, 2, 0]
    shift_list = own_tree.args["test_txt"].replace("_test", "_backward50")
    with open(shift_list, "w") as file:
        file.writelines(lines[i] for i in chosen)
    listed = loader.listed_shift("backward", 50)
    np.testing.assert_array_equal(listed.indices, chosen)
    assert not listed.published, "make-shifts could have written it"
    published = PublishedFile("data_txt/A/a.txt", "", git_blob_sha1(Path(shift_list).read_bytes()), 3, 3)
    with monkeypatch.context() as patched:
        patched.setattr(manifest, "published_files", lambda **_: [published])
        assert loader.listed_shift("backward", 50).published
    with open(shift_list, "a") as file:
        file.write("val/elsewhere.JPEG 1\n")
    with pytest.raises(UserError, match=r"backward50\.txt: val/elsewhere\.JPEG is not among the test images"):
        loader.listed_shift("backward", 50)


def test_a_label_out_of_range_is_an_error_before_any_image_is_read(own_tree):
    loader = ImageNetLTDataLoader(**{**own_tree.args, "num_classes": 2}, **SMALL)
    with pytest.raises(UserError, match=r"ImageNet_LT_train\.txt, line 11: label 2 .*0 to 1 \(num_classes is 2\)"):
        _ = loader.splits


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_one_line_that_names_it(own_tree, workers):
    bad = sorted((own_tree.data_dir / "train").glob("*64/*_3.JPEG"))[0]
    image_trees.truncate(bad)
    loader = ImageNetLTDataLoader(**own_tree.args, **{**SMALL, "num_workers": workers})
    with pytest.raises(UserError) as caught:
        list(loader.epoch(0))
    assert str(caught.value).startswith(f"{bad}: can't be decoded")
    assert "\n" not in str(caught.value)
    assert "on_bad_image" in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_skipping_puts_another_image_of_the_class_in_its_place(own_tree, workers, caplog):
    bad = sorted((own_tree.data_dir / "train").glob("*64/*_3.JPEG"))[0]
    bad.write_bytes(b"")
    options = {**SMALL, "num_workers": workers, "batch_size": 4, "color_jitter": False, "on_bad_image": "skip"}
    loader = ImageNetLTDataLoader(**own_tree.args, **options, shuffle=False)
    with caplog.at_level(logging.WARNING):
        first, targets = epoch_of(loader, 0)
        again, _ = epoch_of(loader, 0)
        epoch_of(loader, 1)
    assert torch.equal(first, again)
    np.testing.assert_array_equal(targets, [0] * 6 + [1] * 4 + [2])
    if not workers:  # the log of other processes isn't caught here
        assert [record.message for record in caplog.records] == [
            f"{bad}: the file is empty; another image replaces it (1 such file so far)"
        ]


def test_the_number_of_workers_makes_no_difference_to_replacements(own_tree):
    for bad in (own_tree.data_dir / "train").glob("*/*_[012].JPEG"):
        bad.unlink()
    runs = []
    for workers in (0, 2):
        options = {**SMALL, "num_workers": workers, "batch_size": 2, "on_bad_image": "skip"}
        runs.append(epoch_of(ImageNetLTDataLoader(**own_tree.args, **options)))
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])


def test_where_a_class_has_no_other_image_the_label_follows_the_replacement(own_tree):
    for bad in (own_tree.data_dir / "train").glob("*66/*_0.JPEG"):  # the only image of class 2
        bad.unlink()
    loader = ImageNetLTDataLoader(**own_tree.args, **SMALL, shuffle=False, on_bad_image="skip")
    _, targets = epoch_of(loader)
    assert len(targets) == 11
    assert targets[-1] in (0, 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_test_images_are_errors_or_black_and_listed(own_tree, workers):
    bad = sorted((own_tree.data_dir / "val").rglob("*.JPEG"))[1]
    bad.write_bytes(b"")
    options = {**SMALL, "num_workers": workers}
    with pytest.raises(UserError, match=re.escape(f"{bad}: the file is empty")):
        list(ImageNetLTDataLoader(**own_tree.args, **SMALL).of_split("test").epoch(0))
    loader = ImageNetLTDataLoader(**own_tree.args, **options, on_bad_image="skip").of_split("test")
    assert loader.unreadable.tolist() == []
    images = torch.cat([batch.images for batch in loader.epoch(0)])
    (skipped,) = loader.unreadable
    assert loader.files_of(loader.unreadable) == [str(bad.relative_to(own_tree.data_dir))]
    black = (images == 0).flatten(1).all(dim=1)
    assert np.flatnonzero(black.numpy()).tolist() == [skipped]


def test_if_nothing_can_be_read_skipping_ends(own_tree):
    shutil.rmtree(own_tree.data_dir)
    loader = ImageNetLTDataLoader(**own_tree.args, **SMALL, on_bad_image="skip")
    with pytest.raises(UserError, match="not one of 11 images can be read"):
        list(loader.epoch(0))


def test_mean_and_std_are_checked():
    with pytest.raises(ValueError, match=r"args\.mean: expected three numbers"):
        ImageNetLTDataLoader(data_dir="", **SMALL, mean=[0.5])
    with pytest.raises(ValueError, match=r"args\.std: expected three positive numbers"):
        ImageNetLTDataLoader(data_dir="", **SMALL, std=[0.5, 0.0, 0.1])


def _lines(path):
    with open(path) as file:
        return file.read().splitlines()
