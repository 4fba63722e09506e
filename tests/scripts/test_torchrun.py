"""Runs of several processes as people start them: torchrun on one machine and on two, and processes that are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import train
from tests.forks import ITS_SCRIPTS_TOO, QUICK, Fork
from tests.scripts.command_line import ROOT, Ended, Shell, the_run
from tests.trainer.small_runs import same_weights, small_config
from trainer.engine.engine import processes_to_start
from utils.distributed import launch
from utils.distributed.context import DistributedContext
from utils.files.checkpoint import load_checkpoint
from utils.files.provenance import read_processes

LAST = "checkpoint-epoch2.pth"
PLAIN = {"trainer__epochs": 2, "trainer__validate": True, "trainer__verbosity": 1}
# a checkpoint after each of many steps, so that a killed run is continued within an epoch
CONFIG = small_config(**PLAIN, trainer__checkpoint_minutes=1e-9, data_loader__args__batch_size=8)
QUICK_SCRIPTS = QUICK + ITS_SCRIPTS_TOO
_PATIENCE = 150.0


def started(
    folder: Path, *flags: str, script: str = "train.py", arguments: tuple[str, ...], before: str = QUICK_SCRIPTS
) -> Fork:
    """A torchrun at work on a script, with `folder` as its directory."""
    return Fork("module", "torch.distributed.run", *flags, ROOT / script, *arguments, folder=folder, before=before)


def ended(process: Fork) -> Ended:
    try:
        process.communicate(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # torchrun ends its processes
        pytest.fail(f"no end in {_PATIENCE} s: {process.end()}")
    return process.end()


def training(folder: Path, *flags: str, config: dict[str, Any] = CONFIG, before: str = QUICK_SCRIPTS) -> Fork:
    (folder / "small.json").write_text(json.dumps(config))
    return started(folder, *flags, arguments=("-c", "small.json", "--save_dir", "saved"), before=before)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two processes that nothing happened to."""
    return run_of_two(tmp_path_factory.mktemp("undisturbed"))


def run_of_two(folder: Path, config: dict[str, Any] = CONFIG, before: str = QUICK_SCRIPTS) -> Path:
    done = ended(training(folder, "--standalone", "--nproc_per_node=2", config=config, before=before))
    assert done.code == 0, done.err
    assert done.out.count("Run saved to") == 1, "one process talks"
    return the_run(folder / "saved")


def test_two_processes_train_and_leave_a_complete_run(tmp_path: Path) -> None:
    """Processes as Python starts them; those of the tests below are forks."""
    run = run_of_two(tmp_path, small_config(**PLAIN), before="")
    content = load_checkpoint(run / LAST)
    assert [line["epoch"] for line in content["progress"]["history"]] == [1, 2]
    assert not any(name.startswith("module.") for name in content["state_dict"])
    (process,) = json.loads((run / "run.json").read_text())["processes"]
    assert process["at_once"] == 2
    log = (run / "info.log").read_text()
    assert "on cpu, 2 processes" in log
    assert log.count("epoch 2/2") == 1


@pytest.mark.usefixtures("_quick")
def test_two_processes_evaluate_as_one_does(undisturbed: Path, shell: Shell) -> None:
    checkpoint = str(undisturbed / LAST)
    results, kept = undisturbed / "results.json", undisturbed / f"{Path(LAST).stem}.predictions.npz"
    flags = ("--standalone", "--nproc_per_node=2")
    shared = ended(started(undisturbed, *flags, script="test_all_cifar.py", arguments=("-r", checkpoint)))
    assert shared.code == 0, shared.err
    assert shared.out.count("trained on") == 1, "one process talks"
    written = results.read_text()
    kept.unlink()
    environment = shell("test_all_cifar.py", "-r", checkpoint)
    assert environment.code == 0
    assert results.read_text() == written


def test_a_wrong_configuration_is_told_once(tmp_path: Path) -> None:
    done = ended(training(tmp_path, "--standalone", "--nproc_per_node=2", config={**CONFIG, "n_gpus": 1}))
    assert done.code == 1, "torchrun's own"
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert lines == ["error: n_gpus: unknown key; did you mean 'n_gpu'? (in small.json)"]
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("rendezvous", ["static", "c10d"])
def test_two_machines_do_what_two_processes_of_one_do(tmp_path: Path, undisturbed: Path, rendezvous: str) -> None:
    port = free_port()
    if rendezvous == "static":
        meeting = [f"--node_rank={rank} --master_addr=127.0.0.1 --master_port={port}".split() for rank in range(2)]
    else:
        meeting = [f"--rdzv_backend=c10d --rdzv_endpoint=127.0.0.1:{port} --rdzv_id=job".split()] * 2
    agents = [training(tmp_path, "--nnodes=2", "--nproc_per_node=1", *flags) for flags in meeting]
    for agent in agents:
        done = ended(agent)
        assert done.code == 0, done.err
    assert same_run(the_run(tmp_path / "saved"), undisturbed)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def same_run(one: Path, other: Path) -> bool:
    ours, theirs = load_checkpoint(one / LAST), load_checkpoint(other / LAST)
    return same_weights(ours, theirs) and ours["progress"] == theirs["progress"]


def test_killed_processes_are_started_again_and_the_run_ends_as_if_nothing_had_been(
    tmp_path: Path, undisturbed: Path
) -> None:
    """Rank 0 is killed in the first epoch, and rank 1 in the second, after the first restart."""
    agent = training(tmp_path, "--standalone", "--nproc_per_node=2", "--max-restarts=3")
    for rank, epoch in ((0, 1), (1, 2)):
        wait_for(agent, partial(is_within_epoch, tmp_path, epoch, starts=epoch))
        os.kill(worker_of(agent.pid, rank), signal.SIGKILL)
    done = ended(agent)
    assert done.code == 0, done.err
    resumed = re.findall(r"Resuming from saved/models/small/.*/checkpoint-epoch(\d)", done.out)
    assert len(resumed) == 2
    assert "1" <= resumed[0] <= resumed[1] <= "2"
    assert same_run(the_run(tmp_path / "saved"), undisturbed)
    processes = json.loads((the_run(tmp_path / "saved") / "run.json").read_text())["processes"]
    assert [process["launch"] for process in processes] == [processes[0]["launch"]] * 3


def is_within_epoch(folder: Path, epoch: int, *, starts: int) -> bool:
    """Whether a run has written a checkpoint in the middle of an epoch, and has been started so many times."""
    written = list(folder.glob(f"saved/models/*/*/checkpoint-epoch{epoch}-step*.pth"))
    return bool(written) and len(read_processes(the_run(folder / "saved"))) == starts


def worker_of(launcher: int, rank: int) -> int:
    """Process number of the worker with a rank: the launcher's server has started them in their order."""
    (server,) = children(launcher)
    return sorted(children(server))[rank]


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_for(process: Fork, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- processes that the program starts by itself, as it would on two GPUs ----------------------------------------------


OWN_START = f"""
import sys
import train
from utils.distributed.launch import start_processes
{QUICK}
if __name__ == "__main__":
    sys.exit(start_processes(train.main, 2))
"""


def own_start(folder: Path, config: dict[str, Any]) -> Fork:
    (folder / "small.json").write_text(json.dumps(config))
    (folder / "start.py").write_text(OWN_START)
    flags = ("-c", "small.json", "--save_dir", "saved")
    return Fork("script", folder / "start.py", *flags, folder=folder, own_session=True)


def test_the_programs_own_processes_do_what_torchruns_do(tmp_path: Path, undisturbed: Path) -> None:
    done = ended(own_start(tmp_path, CONFIG))
    assert (done.code, done.err) == (0, "")
    assert same_run(the_run(tmp_path / "saved"), undisturbed)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGUSR1, 0)])
def test_a_signal_ends_them_with_one_checkpoint(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """SIGINT comes from a terminal, which sends it to all processes of the command."""
    config = small_config(trainer__epochs=10**4, trainer__save_period=10**4, trainer__verbosity=1)
    process = own_start(tmp_path, config)
    wait_for(process, lambda: any("epoch 1/" in log.read_text() for log in tmp_path.glob("saved/models/*/*/info.log")))
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    done = ended(process)
    (checkpoint,) = tmp_path.glob("saved/models/small/*/checkpoint-*.pth")
    said = f"stopped by {number.name}; continue with: python train.py -r {checkpoint.relative_to(tmp_path)}"
    assert (done.code, done.err.splitlines()) == (code, [said])


@dataclass
class Failure:
    """What the launcher tells of a process that failed."""

    timestamp: int
    exitcode: int


@pytest.mark.parametrize(
    ("failures", "received", "code"),
    [
        ([Failure(5, 1), Failure(3, 3)], [], 3),  # the first
        ([Failure(3, 1), Failure(3, 2)], [], 2),  # within a second a mistake counts, not its echo in the others
        ([Failure(3, -9)], [], 1),  # killed
        ([Failure(3, -15)], [signal.SIGTERM], 143),
        ([Failure(3, 1)], [signal.SIGUSR1], 1),  # no checkpoint was written
    ],
)
def test_the_exit_code_is_that_of_what_failed_first(failures: list[Failure], received: list[Any], code: int) -> None:
    assert launch._exit_code(failures, received) == code


def test_one_process_for_each_gpu_that_is_wanted_and_there(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[Callable[[], object], int]] = []

    def start(main: Callable[[], object], count: int) -> int:
        begun.append((main, count))
        return 0

    monkeypatch.setattr("trainer.launch.start_processes", start)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    (tmp_path / "small.json").write_text(json.dumps(CONFIG))
    for wanted in (8, 4, 3):
        assert shell("train.py", "-c", tmp_path / "small.json", "--n_gpu", wanted).code == 0
    assert begun == [(train.main, 4), (train.main, 4), (train.main, 3)]
    assert processes_to_start("ddp", 4, DistributedContext(launch="torchrun's")) == 0, "one of several starts none"
    assert processes_to_start("dp", 4, DistributedContext()) == processes_to_start("none", 4, DistributedContext()) == 0
