"""What training says as it begins, goes on and ends, and when memory runs out."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import trainer.run
from tests.scripts.command_line import Shell, the_run
from tests.trainer.small_runs import small_config
from tests.utils.test_memory import LACKS, OTHERS

pytestmark = pytest.mark.usefixtures("_quick_throughout")

FOLDER = "it's here; my runs"


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "small.json"
    save_dir = str(folder / FOLDER)
    path.write_text(json.dumps(small_config(trainer__save_dir=save_dir, trainer__verbosity=1, **changes)))
    return path


def test_what_is_surely_not_meant_is_warned_of(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    flags = ("--val", "--sync_batchnorm", "true", "--precision", "bf16", "--epochs", 1)
    ended = shell("train.py", "-c", written(tmp_path), *flags)
    assert (ended.code, ended.err) == (0, "")
    assert [line for line in ended.out.splitlines() if "validating" in line or "trainer." in line] == [
        "warning: validating on the test split; to hold out training images instead, set "
        "data_loader.args.validation_split",
        "warning: trainer.sync_batchnorm has no effect: it needs several processes on GPUs",
        "warning: trainer.precision: bf16 is slow on this processor, which has no units for it; use fp32",
    ]


def test_where_a_run_begins_and_where_it_ends(tmp_path: Path, shell: Shell) -> None:
    config = written(tmp_path, trainer__epochs=1)
    first = shell("train.py", "-c", config, "-r", "auto")
    runs = tmp_path / FOLDER / "models" / "small"
    assert f"No earlier run of this configuration in {runs}: starting a new one.\n" in first.out
    folder = the_run(tmp_path / FOLDER)
    checkpoint = folder / "checkpoint-epoch1.pth"
    command = first.out.splitlines()[-1].partition("evaluate with: ")[2]
    assert shlex.split(command) == ["python", "test.py", "-r", str(checkpoint)]

    again = shell("train.py", "-c", config, "-r", "auto")
    assert f"Resuming from {checkpoint}.\n" in again.out
    assert "All 1 epochs are done; to train longer, set a larger --epochs.\n" in again.out

    checkpoint.write_bytes(b"")
    restarted = shell("train.py", "-c", config, "-r", "auto")
    assert f"No usable checkpoint in {folder}: restarting that run.\n" in restarted.out

    other = shell("train.py", "-r", checkpoint, "--epochs", 2)
    assert f"The configuration differs from that of {checkpoint}: starting a new run from it.\n" in other.out


# -- out of memory ----------------------------------------------------------------------------------------------------


def train_with(error: Exception, folder: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(trainer.run, "build_trainer", fail)
    ended = shell("train.py", "-c", written(folder))
    return ended.code, ended.err


@pytest.mark.parametrize("error", LACKS[:3], ids=lambda error: f"{type(error).__name__} {error}"[:40])
def test_lack_of_memory_is_one_line_that_says_what_helps(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    code, told = train_with(error, tmp_path, shell, monkeypatch)
    assert code == 1
    said = (str(error) or "MemoryError").splitlines()[0]
    assert told == (
        f"error: out of memory ({said}); try --accumulate_steps auto, --activation_checkpointing true, --precision "
        "bf16 or a smaller --batch_size; estimate the need with: python -m tools.estimate CONFIG\n"
    )


@pytest.mark.parametrize("error", OTHERS[:1], ids=lambda error: str(error)[:40])
def test_other_errors_are_not_taken_for_it(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with pytest.raises(type(error)) as caught:
        train_with(error, tmp_path, shell, monkeypatch)
    assert caught.value is error
