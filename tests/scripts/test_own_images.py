"""`train.py --images FOLDER`: one command from a folder to what its network is worth, or one line and nothing left."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from tests.data_loader.image_trees import truncate, write_user_folder
from tests.scripts.command_line import Ended, Shell
from trainer import launch
from utils.config.json_files import read_json

pytestmark = pytest.mark.usefixtures("_quick_throughout")

WITH_PAGE = ("--epochs", 1, "--set", "data_loader.args.image_size=16", "--set", "data_loader.args.num_workers=0")
QUICK = ("--no-report", *WITH_PAGE)


def test_one_command_looks_trains_evaluates_and_tells(tmp_path: Path, shell: Shell) -> None:
    folder = tmp_path / "plants"
    write_user_folder(folder)
    shutil.copy(folder / "apple" / "apple_00.jpg", folder / "apple" / "apple_copy.jpg")
    ended = shell("train.py", "--images", folder, *QUICK, "--save_dir", tmp_path / "saved", "--num_experts", 2)
    assert (ended.code, ended.err) == (0, "")
    told = [
        "57 images of 3 classes, 41 to 4 a class",
        "can't be read, left out: 1",
        "apple/apple_05.jpg: ",
        "the same image several times: 1",
        "apple/apple_00.jpg = apple/apple_copy.jpg",
        "fewer than 5 images: cedar (4)",
        "arch.args.num_experts = 2: given by --num_experts",
        "Training takes about ",
        "In words: ",
    ]
    assert [text for text in told if text not in ended.out] == []
    assert ended.out.count("chosen, each to be changed") == 1
    (run,) = (tmp_path / "saved" / "models" / "plants").glob("*/")
    written = json.loads((run / "config.json").read_text(encoding="utf8"))
    assert written["trainer"]["_comment_epochs"] == "given by --epochs"
    assert written["arch"]["args"]["_comment_num_classes"]
    config = read_json(run / "config.json")
    assert config["arch"]["args"]["num_classes"] == 3
    assert config["lr_scheduler"]["args"]["T_max"] == 1
    assert config["trainer"]["validate"]
    lists = {part: (run / "split" / f"{part}.txt").read_text().splitlines() for part in ("train", "validation", "test")}
    assert not set(lists["validation"]) & set(lists["test"])
    rows = json.loads((run / "results.json").read_text(encoding="utf8"))["results"]
    assert {row["checkpoint"] for row in rows} == {"model_best.pth"}
    commands = next_commands(ended)
    assert [command[:-1] for command in commands if command[-1] == str(run)] == [["python", "-m", "tools.report"]]
    for command in commands:
        parts = [part for part in command if part != "NEW_IMAGES"]
        script, *arguments = parts[2:] if parts[1] == "-m" else parts[1:]
        assert [Path(argument).exists() for argument in arguments if str(tmp_path) in argument] == [True]
        assert shell(script, "--help").code == 0


def next_commands(ended: Ended) -> list[list[str]]:
    """The commands that the output ends with, in words."""
    _, _, following = ended.out.partition("\nNext:\n")
    return [shlex.split(line, comments=True) for line in following.splitlines()]


def test_the_page_comes_however_few_test_images_there_are_and_says_what_they_do_not_allow(
    tmp_path: Path, shell: Shell
) -> None:
    """A fifth of 40, 12 and 4 images is tested: 8, 2 and 1."""
    write_user_folder(tmp_path / "plants", broken=False)
    flags = (*WITH_PAGE, "--save_dir", tmp_path / "saved", "--num_experts", 1)
    ended = shell("train.py", "--images", tmp_path / "plants", *flags)
    assert (ended.code, ended.err) == (0, "")
    (page,) = (tmp_path / "saved").glob("models/plants/*/report.html")
    words, _, following = ended.out.partition(f"\n\nReport: {page}\n\nNext:\n")
    assert "In words: " in words and "Report: " not in words
    assert following.startswith("  python -m tools.predict")
    text = page.read_text(encoding="utf8")
    assert "forward50: the test images don&#39;t allow it" in text
    assert "It takes 50 test images of the class with the most training images" in text
    assert "Reliability by groups of classes and distributions" in text


def test_a_process_that_only_starts_others_leaves_the_telling_to_them(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_user_folder(tmp_path / "data", broken=False)
    monkeypatch.setattr(launch, "processes_to_start", lambda *_: 2)
    started: list[int] = []
    monkeypatch.setattr(launch, "start_processes", lambda _, count: started.append(count) or 0)
    ended = shell("train.py", "--images", tmp_path / "data", *QUICK, "--save_dir", tmp_path / "saved")
    assert (ended.code, ended.out, started) == (0, "", [2])


def test_a_folder_with_a_test_but_no_validation_validates_on_training_images(tmp_path: Path, shell: Shell) -> None:
    for part in ("train", "test"):
        write_user_folder(tmp_path / "data" / part, broken=False)
    for number, path in enumerate(sorted((tmp_path / "data" / "test").glob("*/*"))):
        path.write_bytes(path.read_bytes() + bytes([number]))  # another file, by its bytes
    flags = (*QUICK, "--num_experts", 1, "--save_dir", tmp_path / "saved")
    ended = shell("train.py", "--images", tmp_path / "data", *flags)
    assert (ended.code, ended.err) == (0, "")
    assert "validating on the test split" not in ended.out
    (config,) = (tmp_path / "saved").glob("models/data/*/config.json")
    assert read_json(config)["data_loader"]["args"]["validation_split"] == 0.1


def nothing(folder: Path) -> None:
    """There is no such folder."""


def empty(folder: Path) -> None:
    folder.mkdir()


def flat(folder: Path) -> None:
    write_user_folder(folder, broken=False)
    for path in sorted(folder.glob("*/*")):
        path.rename(folder / path.name)
    for path in list(folder.iterdir()):
        if path.is_dir():
            path.rmdir()


def single(folder: Path) -> None:
    write_user_folder(folder, broken=False)
    shutil.rmtree(folder / "apple")
    shutil.rmtree(folder / "birch")


def broken(folder: Path) -> None:
    write_user_folder(folder, broken=False)
    for path in folder.glob("*/*"):
        truncate(path)


def rare_broken(folder: Path) -> None:
    write_user_folder(folder, broken=False)
    for path in folder.glob("cedar/*"):
        truncate(path)


def hollow(folder: Path) -> None:
    write_user_folder(folder, broken=False)
    (folder / "dogwood").mkdir()


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (nothing, "no such folder (given by --images)"),
        (empty, "is empty; put the images of each class into a folder of its name"),
        (flat, "holds 56 images and no folder; put the images of each class into a folder of its name"),
        (single, "holds a single class (cedar)"),
        (broken, "none of the training images can be read; apple/"),
        (rare_broken, "no training image of the class cedar can be read; mend or remove cedar/"),
        (hollow, "dogwood: holds no image; each class needs one"),
    ],
)
def test_what_nothing_can_be_learnt_from_is_one_line(tmp_path: Path, shell: Shell, write, told: str) -> None:
    write(tmp_path / "data")
    ended = shell("train.py", "--images", tmp_path / "data", *QUICK, "--save_dir", tmp_path / "saved")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert told in ended.err
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("flags", [("-c", "x.json"), ("-r", "auto"), ("--data_dir", "elsewhere")])
def test_flags_that_name_something_else_are_refused(tmp_path: Path, shell: Shell, flags: tuple[str, str]) -> None:
    write_user_folder(tmp_path / "data", broken=False)
    (tmp_path / "elsewhere").mkdir()
    ended = shell("train.py", "--images", tmp_path / "data", *flags)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "--images" in ended.err
