"""`python -m tools.predict`: the checkpoint's own answers for any image files, in a table and as files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.data_loader.image_trees import truncate
from tests.scripts.command_line import Shell
from tests.tools.run_on_jpegs import expected, jpegs
from trainer.inference import trained_network
from trainer.inference.answers import Answers
from trainer.inference.image_files import image_files
from trainer.inference.predicted_rows import as_rows, write_rows
from trainer.inference.trained_network import TrainedNetwork
from utils.errors import UserError

NAMES = ["apple", "birch", "cedar"]


@pytest.fixture(scope="module")
def moved(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run and some images without the data set that it was trained on."""
    folder = tmp_path_factory.mktemp("moved")
    shutil.copytree(made / "run", folder / "run")
    shutil.copy(made / "prior.json", folder)
    (folder / "new").mkdir()
    for path in jpegs(made, 12):
        shutil.copy(path, folder / "new")
    config = folder / "run" / "config.json"
    config.write_text(config.read_text().replace(str(made / "data"), str(folder / "nowhere")))
    return folder


@pytest.mark.parametrize("corrected", [False, True])
def test_probabilities_are_the_checkpoints_without_its_data(made: Path, moved: Path, shell: Shell, corrected, tmp_path):
    flags = ("--calibration", "stored", "--prior", moved / "prior.json") if corrected else ()
    out = tmp_path / "out.json"
    ended = shell("tools.predict", moved / "run" / "model.pth", moved / "new", "--out", out, "--topk", 3, *flags)
    assert ended.code == 0, ended.err
    rows = json.loads(out.read_text())["predictions"]
    by_name = {Path(row["image"]).name: row for row in rows}
    paths = jpegs(made, 12)
    assert set(by_name) == {path.name for path in paths}
    for path, probabilities in zip(paths, expected(made, paths, corrected=corrected), strict=True):
        row, ranked = by_name[path.name], np.argsort(-probabilities)
        assert [row["class"], row["class 2"], row["class 3"]] == [NAMES[label] for label in ranked]
        found = [row["probability"], row["probability 2"], row["probability 3"]]
        np.testing.assert_allclose(found, probabilities[ranked], atol=1e-5)
    assert "12 images" in ended.out


def test_a_broken_file_is_named_and_the_others_are_answered(moved: Path, shell: Shell, tmp_path: Path):
    shutil.copytree(moved / "new", tmp_path / "new")
    broken = sorted((tmp_path / "new").iterdir())[3]
    truncate(broken)
    out, sheet = tmp_path / "out.csv", tmp_path / "sheet.png"
    flags = ("--out", out, "--contact-sheet", sheet, "--reject-below", 0.9)
    ended = shell("tools.predict", moved / "run" / "model.pth", tmp_path / "new", *flags)
    assert ended.code == 1
    assert ended.err.strip().splitlines()[-1] == f"error: 1 of 12 images can't be read: {broken}"
    table = pd.read_csv(out)
    assert len(table) == 11
    assert str(broken) not in set(table["image"])
    assert (table["rejected"] == (table["probability"] < 0.9)).all()
    with Image.open(sheet) as picture:
        assert picture.width == 1200


def test_an_estimated_prior_is_that_of_the_images(moved: Path):
    network = TrainedNetwork.load(moved / "run" / "model.pth")
    assert network.class_names == NAMES
    assert network.home is not None
    np.testing.assert_allclose(network.home, np.full(3, 1 / 3))
    assert len(network.class_counts) == 3
    with pytest.raises(UserError, match="has no averaged weights; there are raw"):
        TrainedNetwork.load(moved / "run" / "model.pth", weights="averaged")


def test_a_run_of_a_gpu_is_opened_on_a_cpu_uncompiled_and_in_a_precision_that_is_not_slow_there(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(moved / "run", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["trainer"] |= {"precision": "fp16", "compile": "max-autotune"}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: pytest.fail("it is compiled"))
    files = [str(path) for path in sorted((moved / "new").iterdir())]
    checkpoint = next((tmp_path / "run").glob("*.pth")).name
    as_trained, elsewhere = (TrainedNetwork.load(folder / "run" / checkpoint) for folder in (moved, tmp_path))
    assert np.array_equal(as_trained.expert_logits(files).logits, elsewhere.expert_logits(files).logits)


@pytest.mark.parametrize("wanted", [0, 2])
def test_it_runs_where_a_run_of_its_configuration_would(moved: Path, tmp_path: Path, shell: Shell, monkeypatch, wanted):
    shutil.copytree(moved / "run", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "n_gpu": wanted}))
    asked: list[int] = []
    monkeypatch.setattr(trained_network, "choose_device", lambda n_gpu, _: asked.append(n_gpu) or torch.device("cpu"))
    assert shell("tools.predict", tmp_path / "run" / "model.pth", moved / "new").code == 0
    assert asked == [wanted]


def test_no_more_processes_read_than_there_are_cores_and_batches(moved: Path, monkeypatch: pytest.MonkeyPatch):
    network = TrainedNetwork.load(moved / "run" / "model.pth")
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    for wanted, images, most in ((0, 80, 0), (3, 80, 3), (12, 80, 4), (12, 9, 2), (12, 8, 1)):
        network.loader.num_workers = wanted
        assert network.images(["a.jpg"] * images).num_workers == most  # of 8 images a batch


def answers() -> Answers:
    """Two images, two experts, four classes."""
    probabilities = np.array([[0.1, 0.6, 0.3, 0.0], [0.25, 0.25, 0.25, 0.25]])
    experts = np.array([[[0, 1, 0, 0], [0.2, 0.1, 0.7, 0]], [[1, 0, 0, 0], [0, 0, 0, 1]]])
    return Answers(["a.png", "b.png"], [], probabilities, probabilities, experts, ["w", "x", "y", "z"], None)


def test_rows_have_ranked_classes_entropy_and_votes():
    first, second = as_rows(answers(), topk=2, reject_below=0.5)
    entropy = -(0.1 * np.log(0.1) + 0.6 * np.log(0.6) + 0.3 * np.log(0.3))
    assert first == {
        "image": "a.png",
        "class": "x",
        "probability": 0.6,
        "rejected": False,
        "entropy": pytest.approx(entropy),
        "class 2": "y",
        "probability 2": 0.3,
        "expert 0": "x",
        "expert 1": "y",
    }
    assert second["rejected"]
    assert second["entropy"] == pytest.approx(np.log(4))
    assert "rejected" not in as_rows(answers(), topk=9, reject_below=None)[0]
    members = np.array([[True, False, True, False], [False] * 4])
    first, second = as_rows(answers(), topk=1, reject_below=None, sets=members)
    assert (first["set"], first["set size"]) == (["y", "w"], 2)
    assert (second["set"], second["set size"]) == ([], 0)


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_tables_are_read_back(tmp_path: Path, ending: str):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    rows, path = as_rows(answers(), topk=2, reject_below=None), tmp_path / f"out{ending}"
    write_rows(path, rows)
    if ending == ".json":
        assert json.loads(path.read_text())["predictions"] == rows
    else:
        read = pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
        pd.testing.assert_frame_equal(read, pd.DataFrame(rows))


def test_folders_lists_and_patterns_name_images_once_each(moved: Path, tmp_path: Path):
    images = sorted(str(path) for path in (moved / "new").iterdir())
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(images[:2]) + "\n\n")
    assert image_files([str(moved / "new")]) == images
    assert image_files([str(listed)]) == images[:2]
    assert image_files([str(moved / "n*" / "*.jpg"), images[0]]) == images
    with pytest.raises(UserError, match="names no image files"):
        image_files([str(tmp_path / "*.jpg")])


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--topk", "0"], "--topk 0: must be at least 1"),
        (["--reject-below", "2"], "--reject-below 2.0: must lie in 0 … 1"),
        (["--sets", "1"], "--sets 1: must lie above 0 and below 1"),
        (["--out", "x.xlsx"], "--out x.xlsx: give a file that ends with .csv, .json, .parquet"),
        (["--contact-sheet", "x.gif"], "--contact-sheet x.gif: give a file that ends with .png, .pdf, .svg, .html"),
        (["--prior", "known"], "--prior known: needs labelled images, which are not given here; give auto, or a file"),
    ],
)
def test_mistakes_are_one_line(moved: Path, shell: Shell, flags: list[str], line: str):
    ended = shell("tools.predict", moved / "run" / "model.pth", moved / "new", *flags)
    assert ended.code == 2
    assert ended.err.strip() == f"error: {line}"
