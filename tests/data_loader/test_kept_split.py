"""What a run keeps of its images, and what is made of them when their folder or their lists have changed."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_loader.data_loaders.image_folders import ImageFolderDataLoader
from data_loader.data_loaders.image_lists import ImageListDataLoader
from data_loader.kept_split import KeptSplit
from data_loader.run_data import RunData
from tests.data_loader.image_trees import digit_picture, save_picture
from utils.errors import UserError

SMALL = {"batch_size": 4, "image_size": 16, "num_workers": 0}
PARTS = ("train", "validation", "test")


@dataclass
class Run:
    """A run on images in a folder, as far as its images go: what its checkpoint says of them, and its own folder."""

    folder: Path
    args: dict[str, Any]
    kind: Callable[..., Any] = ImageFolderDataLoader

    def __post_init__(self) -> None:
        loader = self.kind(**self.args, **SMALL)
        loader.freeze(self.folder)
        self.files = paths_of(loader)
        section = {"type": self.kind.__name__, "args": self.args}
        self.content = {
            "format_version": 1,
            "config": {"data_loader": section},
            "class_names": loader.class_names,
            "class_counts": loader.cls_num_list,
            "split_digests": loader.split_digests,
        }

    def again(self, *, evaluates: bool = True, **changes: Any) -> Any:
        """The loader of a continuation or evaluation, with other arguments."""
        args = self.args | changes
        section = {"type": self.kind.__name__, "args": args}
        loader = self.kind(**args, **SMALL)
        known = RunData.of(self.content, self.folder, section, evaluates=evaluates)
        assert known is not None
        loader.take_up(known)
        return loader


def paths_of(loader: Any) -> dict[str, list[str]]:
    return {part: [os.fsdecode(path) for path in loader.find_files()[part].paths] for part in PARTS}


def put(folder: Path, counts: Mapping[str, int], *, first: int = 0) -> Path:
    """`folder/CLASS/CLASS_NN.jpg`: all pictures are different, for each `first`."""
    for digit, (name, count) in enumerate(counts.items()):
        for i in range(first, first + count):
            save_picture(folder / name / f"{name}_{i:02}.jpg", digit_picture(digit, i))
    return folder


@pytest.fixture
def flat(tmp_path: Path) -> Run:
    """40 images of two classes in one folder: 7 of ten for training, 1 for validation, 2 for testing."""
    data = put(tmp_path / "data", {"ape": 20, "bee": 20})
    return Run(tmp_path / "run", {"data_dir": str(data)})


@pytest.fixture
def given(tmp_path: Path) -> Run:
    """A folder with `train/` and `test/`."""
    put(tmp_path / "data" / "train", {"ape": 8, "bee": 4})
    put(tmp_path / "data" / "test", {"ape": 3, "bee": 3}, first=20)
    return Run(tmp_path / "run", {"data_dir": str(tmp_path / "data")})


def test_the_split_is_kept_as_lists_with_the_digests_of_all_images(flat: Run) -> None:
    data, kept = Path(flat.args["data_dir"]), flat.folder / "split"
    for part in PARTS:
        lines = (kept / f"{part}.txt").read_text().splitlines()
        assert [line.rpartition(" ")[0] for line in lines] == flat.files[part]
    lines = (kept / "contents.sha256").read_text().splitlines()
    assert len(lines) == 40
    for line in lines:
        digest, _, path = line.partition("  ")
        assert digest == hashlib.sha256((data / path).read_bytes()).hexdigest()


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="a program of GNU's")
@pytest.mark.parametrize("odd", ["a b.jpg", "back\\slash.jpg", "tab\t.jpg", os.fsdecode(b"\xff.jpg"), "\u2028é.jpg"])
def test_the_digests_can_be_checked_by_sha256sum(tmp_path: Path, odd: str) -> None:
    data = put(tmp_path / "data", {"ape": 4, "bee": 4})
    (data / "ape" / "ape_00.jpg").rename(data / "ape" / odd)
    run = Run(tmp_path / "run", {"data_dir": str(data)})
    contents = run.folder / "split" / "contents.sha256"
    checked = subprocess.run(["sha256sum", "--check", "--strict", contents], cwd=data, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(b": OK\n") == 8
    kept = KeptSplit.read(run.folder, 2)
    assert kept is not None
    assert set(kept.contents) == {os.fsencode(path) for part in PARTS for path in run.files[part]}


def test_a_part_without_images_is_kept_and_a_gain_moves_nothing(tmp_path: Path) -> None:
    """Of two images of a class one is held out for testing, and none is left for validation."""
    data = put(tmp_path / "data", {"ape": 2, "bee": 2})
    run = Run(tmp_path / "run", {"data_dir": str(data)})
    assert [len(run.files[part]) for part in PARTS] == [2, 0, 2]
    for number in range(5):
        save_picture(data / "ape" / f"{number}.jpg", digit_picture(0, 10 + number))
    assert paths_of(run.again()) == paths_of(run.again(evaluates=False)) == run.files


def test_test_images_that_serve_for_validation_are_known_as_such_afterwards(tmp_path: Path) -> None:
    """Else what is to be fitted on held-out images would be fitted on test images."""
    data = put(tmp_path / "data", {"ape": 8, "bee": 8})
    run = Run(tmp_path / "run", {"data_dir": str(data), "val_fraction": 0.0})
    assert run.again().validates_on_test_split
    put(data / "ape", {"new": 3})
    assert run.again(evaluates=False).validates_on_test_split


def test_without_the_kept_split_a_folder_that_has_changed_is_not_split_anew(flat: Run) -> None:
    shutil.rmtree(flat.folder / "split")
    assert paths_of(flat.again()) == flat.files
    put(Path(flat.args["data_dir"]), {"ape": 9}, first=40)
    for evaluates in (True, False):
        with pytest.raises(UserError, match=r"not those that the run began with: split anew, .* `split` back"):
            flat.again(evaluates=evaluates).find_files()


@pytest.mark.parametrize("part", ["validation", "test"])
def test_what_was_interrupted_while_it_was_kept_counts_as_nothing(flat: Run, part: str) -> None:
    """Killed in between, the next attempt must not mix two splits: the training list is the last to be written."""
    (flat.folder / "split" / "train.txt").unlink()
    (flat.folder / "split" / f"{part}.txt").write_text("ape/ape_00.jpg 0\n")
    assert KeptSplit.read(flat.folder, 2) is None
    loader = ImageFolderDataLoader(**flat.args, **SMALL)
    loader.freeze(flat.folder)
    assert paths_of(flat.again()) == flat.files


@pytest.mark.parametrize("kind", ["flat", "given"])
def test_a_test_needs_no_training_images_of_its_own_folder(kind: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(kind)
    data = Path(run.args["data_dir"])
    for path in set(run.files["train"]) | set(run.files["validation"]) - set(run.files["test"]):
        (data / path).unlink()
    shutil.rmtree(data / "train", ignore_errors=True)
    tested = run.again()
    assert paths_of(tested)["test"] == run.files["test"]
    assert tested.of_split("test").cls_num_list == run.content["class_counts"]
    with pytest.raises(UserError, match=r"of the run's images are not there: .*; bring them back"):
        run.again(evaluates=False).find_files()


def test_test_images_that_are_gone_are_told(flat: Run) -> None:
    gone = flat.files["test"][-1]
    (Path(flat.args["data_dir"]) / gone).unlink()
    with pytest.raises(UserError, match=f"1 of the run's test images are not there: {gone}; bring them back"):
        flat.again().find_files()


def test_without_the_kept_split_a_test_folder_beside_no_training_folder_suffices(given: Run) -> None:
    shutil.rmtree(given.folder / "split")
    shutil.rmtree(Path(given.args["data_dir"]) / "train")
    shutil.rmtree(Path(given.args["data_dir"]) / "test" / "ape")
    tested = given.again().of_split("test")
    assert tested.targets.tolist() == [1, 1, 1], "bee is the run's second class, whatever is here"
    assert tested.cls_num_list == given.content["class_counts"]


@pytest.mark.parametrize("evaluates", [True, False])
def test_images_that_have_been_moved_are_the_runs_and_keep_its_split(
    flat: Run, tmp_path: Path, evaluates: bool, caplog: pytest.LogCaptureFixture
) -> None:
    put(Path(flat.args["data_dir"]), {"ape": 9}, first=40)
    moved = Path(flat.args["data_dir"]).rename(tmp_path / "elsewhere")
    assert paths_of(flat.again(evaluates=evaluates, data_dir=str(moved))) == flat.files
    assert "9 images are new since the run was split" in caplog.text


def test_other_images_of_the_same_names_are_others(flat: Run, tmp_path: Path) -> None:
    other = put(tmp_path / "other", {"digit 0": 0, "digit 1": 0, "ape": 20, "bee": 20})
    assert sorted(paths_of(flat.again(data_dir=str(other)))["test"]) == sorted(
        f"{name}/{name}_{i:02}.jpg" for name in ("ape", "bee") for i in range(20)
    )


def test_images_that_the_run_was_trained_on_are_no_validation_images_elsewhere(
    flat: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By their contents, whatever they are called now. Those among the test images are the evaluation's to judge."""
    data, mixed = Path(flat.args["data_dir"]), tmp_path / "mixed"
    for part in ("val", "test"):
        put(mixed / part, {"ape": 3, "bee": 2}, first=60)
        for number, path in enumerate(flat.files["train"][:4]):
            shutil.copy(data / path, mixed / part / "bee" / f"copy{number}.jpg")
    found = paths_of(flat.again(data_dir=str(mixed)))
    assert sorted(found["validation"]) == [
        *(f"val/ape/ape_{i}.jpg" for i in (60, 61, 62)),
        *(f"val/bee/bee_{i}.jpg" for i in (60, 61)),
    ]
    assert len(found["test"]) == 9
    assert "4 of 9 images are left out, which the run was trained on" in caplog.text
    shutil.rmtree(flat.folder / "split")
    assert len(paths_of(flat.again(data_dir=str(mixed)))["validation"]) == 9
    assert "whether the run was trained on these images is not known" in caplog.text


def test_what_was_trained_on_is_recalled_when_the_folder_is_gone(flat: Run) -> None:
    known = RunData.of(flat.content, flat.folder, flat.content["config"]["data_loader"], evaluates=True)
    assert known is not None
    shutil.rmtree(flat.args["data_dir"])
    loader = ImageFolderDataLoader(**flat.args, **SMALL)
    loader.take_up(replace(known, evaluates=False, recalls=True))
    assert paths_of(loader) == flat.files


def test_an_evaluation_counts_the_runs_training_images_whatever_is_elsewhere(given: Run, tmp_path: Path) -> None:
    """Many, medium and few are groups by what the network was trained on."""
    put(tmp_path / "other" / "train", {"ape": 2, "bee": 9}, first=40)
    put(tmp_path / "other" / "test", {"ape": 2, "bee": 2}, first=60)
    assert given.again(data_dir=str(tmp_path / "other")).cls_num_list == [8, 4]
    assert given.again(data_dir=str(tmp_path / "other"), evaluates=False).cls_num_list == [2, 9]


def test_a_checkpoint_of_others_is_asked_nothing(flat: Run) -> None:
    del flat.content["format_version"]
    section = flat.content["config"]["data_loader"]
    assert RunData.of(flat.content, flat.folder, section, evaluates=True) is None


def test_a_damaged_kept_split_is_told_with_file_and_line(flat: Run) -> None:
    contents = flat.folder / "split" / "contents.sha256"
    contents.write_text("no digest\n" + contents.read_text())
    with pytest.raises(UserError, match=r"contents\.sha256, line 1: expected `DIGEST  PATH`"):
        flat.again()
    contents.unlink()
    (flat.folder / "split" / "test.txt").write_text("ape/ape_00.jpg 2\n")
    with pytest.raises(UserError, match=r"test\.txt, line 1: label 2 .* 0 to 1 .*: bring it back"):
        flat.again()


@pytest.fixture
def listed(tmp_path: Path) -> Run:
    """A run on lists: ape is 0, bee is 1."""
    data = put(tmp_path / "data", {"ape": 6, "bee": 6})
    for part, numbers in {"train": range(4), "test": range(4, 6)}.items():
        write_lines(tmp_path / f"{part}.txt", {"ape": 0, "bee": 1}, numbers)
    lists = {f"{part}_txt": str(tmp_path / f"{part}.txt") for part in ("train", "test")}
    return Run(tmp_path / "run", {"data_dir": str(data), "num_classes": 2, **lists}, ImageListDataLoader)


def write_lines(path: Path, labels: Mapping[str, int], numbers: range) -> None:
    lines = [f"{name}/{name}_{i:02}.jpg {label}\n" for name, label in labels.items() for i in numbers]
    path.write_text("".join(lines))


def test_lists_that_have_changed_since_are_told_and_the_runs_own_are_used(
    listed: Run, caplog: pytest.LogCaptureFixture
) -> None:
    assert paths_of(listed.again(evaluates=False)) == listed.files
    assert "changed" not in caplog.text
    write_lines(Path(listed.args["train_txt"]), {"ape": 1, "bee": 0}, range(3))
    assert paths_of(listed.again(evaluates=False)) == listed.files
    assert "the lists for train have changed since the run began: the run's own copy is used" in caplog.text
    Path(listed.args["train_txt"]).unlink()
    assert listed.again().of_split("test").targets.tolist() == [0, 0, 1, 1]


def test_lists_whose_labels_are_the_runs_in_another_order_are_refused(listed: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    write_lines(other, {"bee": 0, "ape": 1}, range(4))
    for evaluates in (True, False):
        with pytest.raises(UserError, match="labels are not the run's: 0 is bee there and ape in the run"):
            listed.again(evaluates=evaluates, train_txt=str(other)).find_files()
    write_lines(other, {"ape": 0, "bee": 1}, range(2))
    assert np.bincount(listed.again(evaluates=False, train_txt=str(other)).targets).tolist() == [2, 2]


def test_without_a_copy_lists_that_have_changed_are_told_and_used(
    listed: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    shutil.rmtree(listed.folder / "split")
    write_lines(Path(listed.args["train_txt"]), {"ape": 0, "bee": 1}, range(3))
    assert len(listed.again(evaluates=False).targets) == 6
    assert "the lists for train have changed since the run began: they are used as they are now" in caplog.text
