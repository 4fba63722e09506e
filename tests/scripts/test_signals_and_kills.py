"""Runs in processes of their own that are signalled, killed or out of disk: nothing is lost, and one line says so."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.forks import ITS_SCRIPTS_TOO, QUICK, Fork, script_in_fork
from tests.scripts.command_line import ROOT
from tests.trainer.small_runs import small_config
from utils.files.checkpoint import load_checkpoint

LONG = small_config(trainer__epochs=10**5, trainer__save_period=10**5, trainer__verbosity=1)
_PATIENCE = 120.0


@contextmanager
def training(folder: Path, config: dict[str, Any]) -> Iterator[Fork]:
    """`train.py` at work in `folder`, past its first epoch; it does not outlive the block."""
    (folder / "small.json").write_text(json.dumps(config))
    process = Fork("script", ROOT / "train.py", "-c", "small.json", "--save_dir", "saved", folder=folder, before=QUICK)
    try:
        deadline = time.monotonic() + _PATIENCE
        while not any("epoch 1/" in log.read_text() for log in folder.glob("saved/models/small/*/info.log")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [(signal.SIGTERM, 143, 2), (signal.SIGINT, 130, 0), (signal.SIGHUP, 129, 0), (signal.SIGUSR1, 0, 0)],
)
def test_a_signal_ends_a_run_with_a_checkpoint_and_names_the_command_that_continues_it(
    tmp_path: Path, number: signal.Signals, code: int, workers: int
) -> None:
    loader = small_config(data_loader__args__randaugm=bool(workers), data_loader__args__num_workers=workers)
    with training(tmp_path, {**LONG, "data_loader": loader["data_loader"]}) as process:
        process.send_signal(number)
        _, errors = process.communicate(timeout=_PATIENCE)
    assert process.returncode == code
    (checkpoint,) = tmp_path.glob("saved/models/small/*/checkpoint-*.pth")
    said = f"stopped by {number.name}; continue with: python train.py -r {checkpoint.relative_to(tmp_path)}"
    assert errors.splitlines() == [said]
    progress = load_checkpoint(checkpoint)["progress"]
    assert progress["epoch"] == len(progress["history"]) >= 1


def test_a_full_disk_ends_a_run_in_one_line_and_leaves_its_last_checkpoint(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: a checkpoint exceeds it, the log does not."""
    config = small_config(trainer__epochs=2, trainer__verbosity=1)
    (tmp_path / "small.json").write_text(json.dumps(config))
    assert script_in_fork("train.py", "-c", tmp_path / "small.json", "--save_dir", tmp_path / "saved").code == 0
    (first,) = tmp_path.glob("saved/models/small/*/checkpoint-epoch1.pth")
    before = first.read_bytes()
    first.with_name("checkpoint-epoch2.pth").unlink()

    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    full = Fork("script", "train.py", "-r", first, before=limit).end()
    assert full.code == 2
    (line,) = full.err.splitlines()
    assert line.startswith(f"error: {first.parent}/checkpoint-epoch2.pth: can't be written")
    assert "Traceback" not in full.out
    assert first.read_bytes() == before
    assert [path.name for path in first.parent.glob("*checkpoint*")] == [first.name]


def test_a_run_killed_while_it_writes_a_checkpoint_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    """Every other trial of the campaign, this first one among them, waits for a checkpoint that is half-written."""
    (tmp_path / "small.json").write_text(json.dumps(small_config(trainer__monitor="max val_accuracy")))
    flags = ("--config", tmp_path / "small.json", "--kills", 1, "--epochs", 2)
    campaign = Fork("script", "benchmarks/crash_campaign.py", *flags, before=f"{QUICK}{ITS_SCRIPTS_TOO}").end()
    assert (campaign.code, campaign.out.splitlines()[-1]) == (0, "1/1")
