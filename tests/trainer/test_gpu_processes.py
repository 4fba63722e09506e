"""Scripts that train and evaluate in processes of their own, one a GPU. Skipped where there is none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.scripts.command_line import Ended, in_own_process, the_run
from tests.trainer.small_runs import small_config
from utils.files.checkpoint import load_checkpoint

NUM_GPUS = torch.cuda.device_count()

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(NUM_GPUS < 1, reason="needs a CUDA device")]
two_gpus = pytest.mark.skipif(NUM_GPUS < 2, reason="needs two CUDA devices")

# so slow that rounding has no time to send two runs apart
SLOW: dict[str, Any] = {"optimizer__args__lr": 0.002, "lr_scheduler__args": {"step1": 98, "step2": 99}}


@pytest.fixture
def small_json(tmp_path: Path) -> Path:
    """The small run's configuration, for scripts in processes of their own."""
    config = small_config(
        **SLOW,
        n_gpu=1,
        trainer__save_dir=str(tmp_path / "saved"),
        trainer__verbosity=1,
        trainer__validate=True,
        trainer__precision="fp32",
    )
    path = tmp_path / "small.json"
    path.write_text(json.dumps(config))
    return path


def by_torchrun(processes: int, script: str, *arguments: object) -> Ended:
    """Run a script in several processes, as people start them."""
    return in_own_process(
        "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", script, *arguments
    )


def last_checkpoint(small_json: Path, name: str) -> Path:
    return the_run(small_json.parent / "saved", name) / "checkpoint-epoch2.pth"


def history_of(small_json: Path, name: str) -> list[dict[str, float]]:
    return load_checkpoint(last_checkpoint(small_json, name))["progress"]["history"]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=two_gpus)])
def test_processes_train_on_what_one_trains_on(small_json: Path, processes: int) -> None:
    """With BatchNorm over all GPUs nothing but rounding is left between them: samples, mixing and updates agree.

    BatchNorm of each process by itself would make 0.2 % and 0.5 % of the two epochs' losses.
    """
    alone = in_own_process("train.py", "-c", small_json, "--name", "alone")
    assert alone.code == 0, alone
    together = by_torchrun(
        processes, "train.py", "-c", small_json, "--name", "together", "--n_gpu", processes, "--sync_batchnorm", "true"
    )
    assert together.code == 0, together
    for ours, expected in zip(history_of(small_json, "together"), history_of(small_json, "alone"), strict=True):
        assert ours["loss"] == pytest.approx(expected["loss"], rel=2e-4)
        assert ours["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-3)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=two_gpus), pytest.param(NUM_GPUS, marks=two_gpus)])
def test_processes_train_and_evaluate_from_end_to_end(small_json: Path, processes: int) -> None:
    """With the settings that people use; test.py in one process and in several says the same."""
    trained = by_torchrun(
        processes, "train.py", "-c", small_json, "--name", "end", "--n_gpu", processes, "--precision", "auto"
    )
    assert trained.code == 0, trained
    assert all(math.isfinite(value) for line in history_of(small_json, "end") for value in line.values())
    checkpoint = last_checkpoint(small_json, "end")
    alone = in_own_process("test.py", "-r", checkpoint)
    assert alone.code == 0, alone
    assert "ensemble" in alone.out
    checkpoint.with_name(f"{checkpoint.stem}.predictions.npz").unlink()  # else they would be used again
    together = by_torchrun(processes, "test.py", "-r", checkpoint)
    assert together.code == 0, together
    assert together.out == alone.out


@two_gpus
def test_train_starts_a_process_for_each_gpu_by_itself(small_json: Path) -> None:
    ended = in_own_process("train.py", "-c", small_json, "--n_gpu", 2, "--name", "itself")
    assert ended.code == 0, ended
    assert "2 processes" in ended.out + ended.err
    assert len(history_of(small_json, "itself")) == 2


@two_gpus
def test_one_gpu_is_enough_where_one_is_asked_for(small_json: Path) -> None:
    ended = in_own_process("train.py", "-c", small_json, "--n_gpu", 1, "--name", "one")
    assert ended.code == 0, ended
    assert "processes" not in ended.out + ended.err
