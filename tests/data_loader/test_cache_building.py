"""Caches that are stopped, damaged, or made from files that have changed since."""

import errno
import multiprocessing
import os
import shutil
import signal

import numpy as np
import pytest

from data_loader.cache import building
from data_loader.cache.layout import RECORD
from tests.data_loader import image_trees
from tests.data_loader.cached_trees import built, cached, files_of, loader_of, records_of, user_folder
from tests.data_loader.epochs import inputs, same_inputs
from utils.errors import UserError
from utils.files.locks import take_lock

COUNT = 50  # images to train on


@pytest.fixture
def folder(tmp_path):
    return user_folder(tmp_path / "user")


@pytest.fixture
def loader(folder, tmp_path):
    """Of a cache that is not built yet."""
    return cached(folder, tmp_path / "cache", side=20)


def read_anew(loader):
    """The batches of a loader that hasn't read anything yet."""
    return inputs(cached(loader.data_dir, loader.cache, side=20), 0)


def flip_a_byte(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_a_build_that_was_killed_goes_on_from_there(loader, monkeypatch, folder, tmp_path):
    whole = cached(folder, tmp_path / "whole", side=20)
    built(whole)
    count, stored_form = [0], building.stored_form

    def killed_at_the_40th(*args, **options):
        count[0] += 1
        if count[0] == 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return stored_form(*args, **options)

    monkeypatch.setattr(building, "_SAMPLED", 1)
    with monkeypatch.context() as patch:
        patch.setattr(building, "stored_form", killed_at_the_40th)
        process = multiprocessing.get_context("fork").Process(target=built, args=(loader,))
        process.start()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(UserError, match=r"holds no finished cache of these .*`python -m .* CONFIG` finishes it"):
        _ = loader.images
    found = built(loader)
    assert (found.kept, found.stored, found.reasons) == (32, COUNT, [])  # two batches of 16; the 1st was for the sample
    np.testing.assert_array_equal(records_of(loader), records_of(whole))
    assert files_of(loader).images.read_bytes() == files_of(whole).images.read_bytes()


def test_what_a_kill_has_left_torn_is_made_anew(loader):
    """Bytes without a record, a record without bytes, a record that is cut off."""
    built(loader)
    expected, files = read_anew(loader), files_of(loader)
    files.description.unlink()
    with open(files.images, "ab") as file:
        file.write(b"torn")
    os.truncate(files.records, RECORD.itemsize * (COUNT - 3) + 10)
    records = records_of(loader)
    records["offset"][5] = 1 << 40
    records["length"][6] = -1
    with open(files.records, "r+b") as file:
        file.write(records.tobytes())
    assert built(loader).kept == COUNT - 5
    assert same_inputs(read_anew(loader), expected)


def test_a_finished_cache_is_checked_and_kept(loader):
    built(loader)
    times = [path.stat().st_mtime_ns for path in (files_of(loader).images, files_of(loader).description)]
    assert built(loader).kept == COUNT
    assert [path.stat().st_mtime_ns for path in (files_of(loader).images, files_of(loader).description)] == times


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_told_when_it_is_read_and_mended(loader, workers):
    built(loader)
    expected, record = read_anew(loader), records_of(loader)[7]
    flip_a_byte(files_of(loader).images, int(record["offset"] + record["length"]) - 1)
    reader = cached(loader.data_dir, loader.cache, side=20, num_workers=workers)
    told = rf"bin: damaged at byte {record['offset']:,} \(data_loader\.args\.cache\): `python -m .*CONFIG` mends it"
    with pytest.raises(UserError, match=told):
        inputs(reader, 0)
    assert built(loader).kept == COUNT - 1
    assert same_inputs(read_anew(loader), expected)


@pytest.mark.parametrize("spoil", ["source", "height", "shorter", "no images", "description", "another version"])
def test_a_cache_that_is_not_whole_is_told_when_it_is_opened_and_mended(loader, spoil):
    built(loader)
    expected, files = read_anew(loader), files_of(loader)
    if spoil == "source":
        flip_a_byte(files.records, RECORD.fields["time"][1])
    elif spoil == "height":
        flip_a_byte(files.records, RECORD.fields["height"][1])
    elif spoil == "shorter":
        os.truncate(files.images, files.images.stat().st_size - 1)
    elif spoil == "no images":
        files.images.unlink()
    elif spoil == "description":
        files.description.write_text("{")
    else:
        files.description.write_text(files.description.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(UserError, match=r"bin: the cache is damaged .*`python -m data_loader\.cache CONFIG` mends it"):
        read_anew(loader)
    built(loader)
    assert same_inputs(read_anew(loader), expected)


def test_images_that_have_changed_are_told_and_stored_anew(loader, folder):
    built(loader)
    resized, replaced = (folder / "train" / "apple" / f"apple_{number:02}.jpg" for number in (2, 3))
    image_trees.save_picture(resized, image_trees.digit_picture(5, 5))
    flip_a_byte(replaced, 300)
    told = rf"{resized}: has changed, as have 1 more, since the cache was built in .* CONFIG` mends it"
    with pytest.raises(UserError, match=told):
        read_anew(loader)
    assert built(loader).kept == COUNT - 2
    fresh = cached(folder, folder / "fresh", side=20)
    built(fresh)
    assert same_inputs(read_anew(loader), inputs(fresh, 0))


def test_images_that_are_gone_are_told(loader, folder):
    built(loader)
    gone = folder / "train" / "apple" / "apple_02.jpg"
    gone.unlink()
    with pytest.raises(UserError, match=f"{gone}: has changed since the cache was built"):
        _ = loader.images  # by the names that were found before


def test_a_copy_of_the_images_is_no_change(loader, folder):
    """Other times, the same contents."""
    built(loader)
    for path in folder.rglob("*.*"):
        os.utime(path, ns=(0, 10**18))
    assert same_inputs(read_anew(loader), inputs(loader, 0))
    assert built(loader).kept == COUNT


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_images_that_cannot_be_read_are_what_they_are_without_a_cache(folder, tmp_path, policy):
    broken = folder / "train" / "apple" / "apple_05.jpg"
    image_trees.truncate(broken)
    loader = cached(folder, tmp_path / "cache", side=40, on_bad_image=policy)
    found = built(loader)
    assert (found.stored, found.images) == (COUNT - 1, COUNT)
    assert found.reasons[0].startswith(f"{broken}: can't be decoded")
    plain = loader_of(folder, on_bad_image=policy)
    if policy == "skip":
        assert same_inputs(inputs(loader, 0), inputs(plain, 0))
        assert loader.unreadable.tolist() == plain.unreadable.tolist() == [5]
    else:
        errors = []
        for one in (loader, plain):
            with pytest.raises(UserError, match="apple_05") as raised:
                inputs(one, 0)
            errors.append(str(raised.value))
        assert errors[0] == errors[1]
    shutil.copy(folder / "train" / "apple" / "apple_06.jpg", broken)
    assert (built(loader).kept, built(loader).reasons) == (COUNT - 1, [])


def test_a_jpeg_can_be_too_long_for_its_format(tmp_path):
    tree = user_folder(tmp_path / "user")
    image_trees.digit_picture(1, 1).resize((66_000, 20)).save(tree / "train" / "apple" / "long.png")
    loader = cached(tree, tmp_path / "cache", side=20, form="jpeg")
    (reason,) = built(loader).reasons
    assert reason.startswith(f"{tree}/train/apple/long.png: can't be stored as a JPEG")
    assert len(inputs(loader, 0)) == (COUNT + 1 + 7) // 8  # it is read from its file


def test_a_disk_that_is_too_small_is_told_before(loader, monkeypatch):
    """50 images of at least 20 × 20 pixels take 60 kB at least."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 59_999, 59_999))
    with pytest.raises(UserError, match=r"50 images will take about 0\.0 GB, and 0\.0 GB are free"):
        built(loader)
    assert not files_of(loader).images.exists()


def test_a_disk_that_fills_up_is_told_and_what_is_stored_is_kept(loader, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr("data_loader.cache.building.write_bytes", lambda path, content: path.write_bytes(content))
        with pytest.raises(UserError, match=r"can't be written to: No space left.*run the same command again"):
            built(loader)
    assert built(loader).kept == COUNT


def test_one_process_builds_it_at_a_time(loader):
    files_of(loader).folder.mkdir()
    lock = take_lock(files_of(loader).lock)
    with pytest.raises(UserError, match="another process is building this cache"):
        built(loader)
    lock.release()
    assert built(loader).stored == COUNT


def test_a_folder_that_cannot_be_made_is_told(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/cache: can't be written to: Not a directory"):
        built(cached(folder, tmp_path / "file" / "cache", side=20))


def test_the_number_of_processes_does_not_matter(loader, folder, tmp_path):
    other = cached(folder, tmp_path / "other", side=20)
    built(loader), built(other, workers=2)
    np.testing.assert_array_equal(records_of(loader), records_of(other))
    assert files_of(loader).images.read_bytes() == files_of(other).images.read_bytes()
