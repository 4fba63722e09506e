"""`python -m tools.calibrate`: fits to held-out images, keeps it, evaluation uses it; and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.posthoc_calibration import CALIBRATIONS
from tests.scripts.command_line import Shell, files_below
from tests.trainer.small_runs import run, small_config
from tools.calibrate import METHODS

pytestmark = pytest.mark.usefixtures("_quick_throughout")

NAME = "checkpoint-epoch1"


def trained(folder: Path, held_out: float) -> Path:
    run(folder, small_config(trainer__epochs=1, data_loader__args__validation_split=held_out))
    return folder / f"{NAME}.pth"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run of two experts that has held images out."""
    return trained(tmp_path_factory.mktemp("run"), 0.3)


def test_the_methods_are_the_registrys() -> None:
    assert set(METHODS) == set(CALIBRATIONS)


def test_it_is_kept_beside_the_checkpoint_and_evaluation_uses_it(checkpoint: Path, shell: Shell) -> None:
    path = checkpoint.with_name(f"{NAME}.calibration.json")
    refused = shell("test.py", "-r", checkpoint, "--calibration", "stored")
    assert (refused.code, refused.err.count("make it: python -m tools.calibrate")) == (2, 1)
    ended = shell("tools.calibrate", checkpoint)
    assert (ended.code, ended.err) == (0, "")
    assert (
        f"Calibration written to {path}; evaluate with: python test.py -r {checkpoint} --calibration stored"
        in ended.out
    )
    content = json.loads(path.read_text())
    assert content["held_out_images"] == sum(content["held_out_images_of_classes"]) > 10
    assert list(content["weights"]["raw"]) == ["ensemble", "expert 0", "expert 1"]
    assert content["method"] in METHODS
    assert f"\nmethod {content['method']}" in ended.out
    assert shell("tools.calibrate", checkpoint, "--method", "vs").code == 0
    assert json.loads(path.read_text())["method"] == "vs"
    (checkpoint.parent / "results.json").unlink(missing_ok=True)
    for script, *flags in (
        ["test.py"],
        ["test.py", "--calibration", "stored"],
        ["test_all_cifar.py", "--calibration", path],
    ):
        assert shell(script, "-r", checkpoint, *flags).code == 0
    rows = json.loads((checkpoint.parent / "results.json").read_text())["results"]
    names = list(dict.fromkeys(row["calibration"] for row in rows))
    assert names == ["none", "stored: vs", f"file {path.name}: vs"]
    plain, calibrated = ([row for row in rows if row["calibration"] == name] for name in names[:2])
    assert [row["ece_before"] for row in calibrated] == [row["ece"] for row in plain]


def test_one_of_another_checkpoint_is_refused(checkpoint: Path, shell: Shell, tmp_path: Path) -> None:
    assert shell("tools.calibrate", checkpoint, "--out", tmp_path / "own.json").code == 0
    content = json.loads((tmp_path / "own.json").read_text())
    beside = checkpoint.with_name(f"{NAME}.calibration.json")
    beside.write_text(json.dumps(content | {"checkpoint_sha256": "0" * 64}))
    ended = shell("test_all_cifar.py", "-r", checkpoint, "--calibration", "stored")
    assert (ended.code, ended.out) == (2, "")
    assert f"was fitted to another checkpoint than {NAME}.pth is now; make it anew" in ended.err


def test_test_images_are_refused_and_nothing_is_written(shell: Shell, tmp_path: Path) -> None:
    checkpoint = trained(tmp_path, 0.0)
    before = files_below(tmp_path)
    ended = shell("tools.calibrate", checkpoint)
    assert (ended.code, ended.out) == (2, "")
    assert "hold some out when you train, with data_loader.args.validation_split" in ended.err.splitlines()[-1]
    assert files_below(tmp_path) == before


def test_a_handful_of_held_out_images_is_too_few(
    checkpoint: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("trainer.evaluation.calibrate_command.FEWEST_IMAGES", 10_000)
    ended = shell("tools.calibrate", checkpoint, "--out", tmp_path / "c.json")
    assert (ended.code, list(tmp_path.iterdir())) == (2, [])
    assert "a calibration needs 10000 held-out images at least, and there are " in ended.err


def test_mistakes_are_one_line(checkpoint: Path, shell: Shell, tmp_path: Path) -> None:
    for arguments, told in (
        ([], "the following arguments are required: CHECKPOINT"),
        ([tmp_path / "x.pth"], "no such checkpoint"),
        ([checkpoint, "--method", "vss"], "argument --method: invalid choice: 'vss'"),
        ([checkpoint, "--out", tmp_path], "can't be written: a folder is in the way"),
    ):
        ended = shell("tools.calibrate", *arguments)
        assert (ended.code, ended.out.count("Calibration"), ended.err.count("error: ")) == (2, 0, 1)
        assert told in ended.err
