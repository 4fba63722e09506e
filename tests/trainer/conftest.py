"""What the tests of the trainer share."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.scripts.command_line import Ended, Shell
from tests.trainer import stub_runs
from tests.trainer.several_runs import Several
from tests.trainer.small_runs import small_config
from tests.trainer.train_commands import Train
from trainer.many_runs import loop, planned_run


@pytest.fixture(autouse=True)
def _convolutions_as_they_were() -> Iterator[None]:
    """A trainer sets the precision of convolutions for the whole process; a test gives it back."""
    before = torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def _ordered_event_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard orders event files by second, host and process: here several are begun within a second."""
    begun: list[str] = []

    def host() -> str:
        begun.append(f"host{len(begun):03}")
        return begun[-1]

    monkeypatch.setattr(socket, "gethostname", host)


@pytest.fixture
def several(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Several:
    """`train.py` for several runs, by one command: `several("--seed", 1, 2)`."""
    monkeypatch.setattr(planned_run, "_TRAIN", Path(stub_runs.__file__))
    monkeypatch.setattr(loop, "_LOOK", 0.01)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = Several(tmp_path, shell, monkeypatch)
    found.has_gpus()
    return found


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell) -> Train:
    """`train("-r", "auto")` runs the small configuration in an empty folder, one step an epoch."""
    config = small_config(
        trainer__epochs=2, trainer__save_dir="saved", trainer__verbosity=1, data_loader__args__batch_size=78
    )
    (tmp_path / "small.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)

    def start(*flags: object, config: str | None = "small.json") -> Ended:
        return shell("train.py", *(["-c", config] if config else []), *flags)

    return start
