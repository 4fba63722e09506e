import io
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from data_loader.cache.stored_form import shrunk
from data_loader.data_loaders.image_lists import ImageListDataLoader
from data_loader.datasets.decoding import read_image
from data_loader.lists.list_files import ImageList, write_list
from tests.data_loader.cached_trees import (
    LARGEST,
    SMALLEST,
    built,
    cached,
    files_of,
    loader_of,
    records_of,
    user_folder,
    write_class,
)
from tests.data_loader.epochs import inputs, same_inputs
from tests.data_loader.image_bytes import png16
from utils.errors import UserError

FORMS = ("jpeg", "raw")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return user_folder(tmp_path_factory.mktemp("user"))


def test_raw_images_lie_one_behind_the_other_by_rows_and_pixels(tmp_path):
    """30 × 60 pixels of one colour become 20 × 40 of it; what is no larger than 20 stays as it is."""
    tiny = np.arange(18 * 19 * 3, dtype=np.uint8).reshape(18, 19, 3)
    pictures = {"1.png": Image.new("RGB", (60, 30), (10, 200, 30)), "2.png": Image.fromarray(tiny)}
    loader = cached(write_class(tmp_path / "images", pictures), tmp_path / "cache", side=20)
    built(loader)
    records, content = records_of(loader), files_of(loader).images.read_bytes()
    sizes = [record.tolist() for record in records[["offset", "length", "height", "width"]]]
    assert sizes == [(0, 2400, 20, 40), (2400, 1026, 18, 19)]
    assert content == bytes((10, 200, 30)) * 800 + tiny.tobytes()


def test_jpegs_are_of_quality_95(tmp_path):
    """By the formula of the Independent JPEG Group: (10·q + 50) // 100 of the standard's 16 … 99."""
    random = np.random.default_rng(0).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    picture = Image.fromarray(random).resize((90, 120), Image.Resampling.BICUBIC)
    loader = cached(write_class(tmp_path / "images", {"1.png": picture}), tmp_path / "cache", side=30, form="jpeg")
    built(loader)
    with Image.open(io.BytesIO(files_of(loader).images.read_bytes())) as stored:
        assert (stored.format, stored.size) == ("JPEG", (30, 40))
        luminance = stored.quantization[0]
    assert (luminance[0], luminance[63]) == ((10 * 16 + 50) // 100, (10 * 99 + 50) // 100)
    exact = shrunk(torch.from_numpy(np.array(picture)).permute(2, 0, 1), 30)
    assert (loader.images.cache.read(0).float() - exact).abs().mean() < 4


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("form", FORMS)
def test_images_that_are_small_already_make_the_same_batches_as_without_a_cache(folder, tmp_path, form, workers):
    """Of JPEGs the very file is kept, CMYK or not; a PNG loses something as a JPEG."""
    ignored = shutil.ignore_patterns("*.png") if form == "jpeg" else None
    images = shutil.copytree(folder, tmp_path / "images", ignore=ignored)
    loader = cached(images, tmp_path / "cache", side=LARGEST, form=form, num_workers=workers)
    built(loader, workers=workers)
    assert same_inputs(inputs(loader, 1), inputs(loader_of(images), 1))


def test_shrunk_images_make_the_same_batches_as_files_of_that_size(folder, tmp_path):
    loader = cached(folder, tmp_path / "cache", side=20)
    built(loader, workers=2)
    for path in (path for path in folder.rglob("*") if path.is_file()):
        pixels = shrunk(read_image(str(path)), 20).permute(1, 2, 0).contiguous().numpy()
        small = tmp_path / "small" / path.relative_to(folder).with_suffix(".png")
        small.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(small)
    of_files, of_cache = inputs(loader_of(tmp_path / "small"), 2), inputs(loader, 2)
    assert same_inputs(of_cache, of_files)
    assert not same_inputs(of_cache, inputs(loader_of(folder), 2))


def test_an_image_is_shrunk_as_a_test_image_is(folder, tmp_path):
    """To the same size, to the pixel: width 56 and height 28 become 40 and 20, 30 and 40 become 20 and 26."""
    loader = cached(folder, tmp_path / "cache", side=20)
    built(loader)
    sizes = {(record["width"], record["height"]) for record in records_of(loader)}
    assert sizes == {(26, 20), (20, 26), (20, 20), (40, 20)}  # of 40×30 and 48×36; 30×40; 33×33; 56×28


@pytest.mark.parametrize("form", FORMS)
def test_images_are_read_as_the_loader_reads_them(tmp_path, form):
    """Turned as EXIF says, and scaled from the range of values that is stated."""
    lying = Image.Exif()
    lying[0x0112] = 6
    noise = np.random.default_rng(1).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    root = write_class(tmp_path / "images", {"1.jpg": Image.fromarray(noise)}, exif=lying)
    (root / "train" / "a" / "2.png").write_bytes(png16(np.full((20, 30, 1), 1200, np.uint16)))
    args = {"value_range": (200, 2200), "apply_exif": True}
    loader = cached(root, tmp_path / "cache", side=32, form=form, **args)
    built(loader)
    turned, deep = (loader.images.cache.read(index) for index in (0, 1))
    expected = loader.reader(str(root / "train" / "a" / "1.jpg"))
    assert turned.shape == expected.shape == (3, 40, 24)
    assert torch.equal(turned, expected) == (form == "raw")  # turned, it is no longer the file's JPEG
    assert (turned.float() - expected).abs().mean() < 12  # of noise
    assert deep.unique().tolist() == [128]  # (1200 − 200) · 255 / 2000 = 127.5, to even
    for changed in ({"value_range": (200, 3000)}, {"apply_exif": False}):
        with pytest.raises(UserError, match="holds no cache of these images"):
            _ = cached(root, tmp_path / "cache", side=32, form=form, **{**args, **changed}).images


def test_it_is_found_by_what_it_holds_wherever_the_images_lie(folder, tmp_path):
    loader = cached(folder, tmp_path / "cache", side=20)
    expected = (built(loader), inputs(loader, 0))[1]
    (tmp_path / "moved").symlink_to(folder)
    assert same_inputs(inputs(cached(tmp_path / "moved", tmp_path / "cache", side=20), 0), expected)
    with pytest.raises(UserError, match=r"holds no cache of these images \(shorter side 21, raw\) .*CONFIG` builds it"):
        _ = cached(folder, tmp_path / "cache", side=21).images
    with pytest.raises(UserError, match=r"shorter side 20, jpeg"):
        _ = cached(folder, tmp_path / "cache", side=20, form="jpeg").images


def test_a_part_of_the_images_is_read_out_of_it(folder, tmp_path):
    built(cached(folder, tmp_path / "cache", side=LARGEST))
    for part in ({"max_per_class": 3}, {"validation_split": 0.4}):
        loader = cached(folder, tmp_path / "cache", side=LARGEST, **part)
        assert loader.images.cache is not None
        assert same_inputs(inputs(loader, 0), inputs(loader_of(folder, **part), 0))


def test_what_is_evaluated_is_read_from_its_files(folder, tmp_path):
    """There is no cache here, and only the images to train on ask for it."""
    loader = cached(folder, tmp_path / "none", side=20)
    tested = loader.of_split("test")
    assert same_inputs(inputs(tested, 0), inputs(loader_of(folder).of_split("test"), 0))
    with pytest.raises(UserError, match=f"{tmp_path / 'none'}: holds no cache"):
        _ = loader.images


def test_it_goes_to_another_process_without_its_images(folder, tmp_path):
    """As where processes are started anew, and not forked."""
    loader = cached(folder, tmp_path / "cache", side=SMALLEST)
    built(loader)
    cache = loader.images.cache
    before = cache.read(4).clone()
    sent = pickle.dumps(cache)
    assert len(sent) < files_of(loader).images.stat().st_size / 2
    assert torch.equal(pickle.loads(sent).read(4), before)


def test_a_side_below_the_networks_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"args\.cache_side: expected at least image_size, which is 16; got 15"):
        cached(folder, tmp_path, side=15)


def test_lists_too(folder, tmp_path):
    """Labels and order in a list don't matter to the cache, and an image may be named twice."""
    images = loader_of(folder).find_files()["train"]
    twice = ImageList(np.append(images.paths[::-1], images.paths[:1]), np.zeros(len(images) + 1, np.int64))
    write_list(tmp_path / "train.txt", twice)
    write_list(tmp_path / "test.txt", loader_of(folder).find_files()["test"])
    args = {"train_txt": str(tmp_path / "train.txt"), "test_txt": str(tmp_path / "test.txt"), "num_classes": 3}
    usual = {"data_dir": str(folder), "batch_size": 8, "num_workers": 0, "image_size": 16}
    built(cached(folder, tmp_path / "cache", side=LARGEST))
    loader = ImageListDataLoader(**usual, **args, cache=str(tmp_path / "cache"), cache_side=LARGEST, cache_format="raw")
    assert loader.images.cache is not None
    assert same_inputs(inputs(loader, 0), inputs(ImageListDataLoader(**usual, **args), 0))
