"""Several runs by an engine that others wrote: what is preempted or interrupted goes on, and none is trained twice."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial

import pytest

from tests.trainer.several_runs import Several
from trainer.many_runs import command
from trainer.many_runs.on_slurm import OnSlurm


@pytest.fixture
def _submitit_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """submitit's own stand-in for SLURM: its jobs are processes of this machine."""
    pytest.importorskip("submitit")
    monkeypatch.setattr(command, "OnSlurm", partial(OnSlurm, cluster="local"))
    monkeypatch.setenv("PYTHONPATH", "")


@pytest.mark.usefixtures("_submitit_here")
def test_a_preempted_job_is_queued_again_and_goes_on_from_its_checkpoint(several: Several) -> None:
    preempt = several.once_one_waits(lambda job: os.kill(job, signal.SIGUSR2))  # as submitit has SLURM do it
    ended = several("--launcher", "slurm", "--launcher_option", "timeout_min=5", "--seed", 1, 15, 13)
    preempt.join()
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.splitlines()[-1].startswith("failed: seed=13: error: the loss is nan (see ")
    assert sorted(line.split()[0] for line in several.started()) == ["1", "13", "15", "15"]
    runs = {path.parent for path in several.runs.glob("2*/checkpoint-epoch2.pth")}
    assert len(runs) == 2
    assert len([run for run in runs if (run / "checkpoint-epoch1.pth").exists()]) == 1


@pytest.mark.usefixtures("_submitit_here")
def test_a_signal_cancels_the_jobs_which_write_their_checkpoints(several: Several) -> None:
    stop = several.once_one_waits(lambda job: os.kill(os.getpid(), signal.SIGTERM))
    ended = several("--launcher", "slurm", "--seed", 15)
    stop.join()
    assert ended.code == 143
    assert "0 of 1 runs are finished; continue with: python train.py -c " in ended.err
    assert len(list(several.runs.glob("2*/checkpoint-epoch1.pth"))) == 1


@pytest.mark.usefixtures("_submitit_here")
@pytest.mark.parametrize(
    ("option", "told"), [("nonsense=1", "nonsense"), ("slurm_partitoin=gpu", "partitoin"), ("nodes=two", "nodes")]
)
def test_an_option_that_submitit_has_not_is_a_line(several: Several, option: str, told: str) -> None:
    ended = several("--launcher", "slurm", "--launcher_option", option)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: --launcher_option: ")
    assert told in line


@pytest.mark.usefixtures("_submitit_here")
def test_without_slurm_a_line_says_so(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "OnSlurm", OnSlurm)
    monkeypatch.setenv("PATH", "")
    ended = several("--launcher", "slurm")
    assert (ended.code, ended.err.startswith("error: --launcher slurm: there is no sbatch")) == (2, True)


@pytest.mark.parametrize(("launcher", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_without_its_package_a_line_says_how_to_install_it(
    several: Several, launcher: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    ended = several("--launcher", launcher)
    assert ended.code == 2
    told = f"--launcher {launcher} needs {package}, which is not installed: pip install {package}"
    assert ended.err == f"error: {told}\n"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--launcher_option", "timeout_min=5"], "--launcher_option: is for a --launcher, and none is given"),
        (["--launcher", "slurm", "--launcher_option", "timeout_min"], "expected NAME=VALUE"),
        (["--launcher", "slurm", "-d", "0"], "-d 0: a launcher chooses the GPUs itself"),
        (["--launcher", "slrum"], "invalid choice: 'slrum'"),
    ],
)
def test_a_mistake_about_launchers_is_a_line(several: Several, flags: list[str], told: str) -> None:
    ended = several(*flags)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert ended.err.count("\n") == 1
