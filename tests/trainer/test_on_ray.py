"""Several runs on a Ray cluster: those of a node that dies go on elsewhere, none is lost, and none is trained twice."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.crash_campaign import differences
from tests.scripts.command_line import Shell
from tests.trainer.ray_cluster import HEAD, LONGEST_WAIT, SECOND, RayCluster, once
from tests.trainer.several_runs import Several
from tests.trainer.small_runs import small_config
from trainer.many_runs.job import Job
from trainer.many_runs.on_ray import demand, remarks_on
from utils.files.checkpoint import load_checkpoint

EPOCHS = 10
RUNS = Path("saved") / "models" / "small"


@pytest.fixture(scope="module")
def one_cluster() -> Iterator[RayCluster]:
    pytest.importorskip("ray")
    started = RayCluster()
    yield started
    started.end()


@pytest.fixture
def cluster(one_cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RayCluster:
    """Two nodes, and a folder with a recipe."""
    one_cluster.start_second()
    recipe = small_config(trainer__epochs=EPOCHS, trainer__save_dir="saved", trainer__verbosity=1)
    (tmp_path / "small.json").write_text(json.dumps(recipe))
    monkeypatch.chdir(tmp_path)
    return one_cluster


def log_of(label: str) -> str:
    """What a run has printed so far, whichever process did."""
    return "".join(path.read_text() for path in RUNS.glob(f"several/{label}-*.log"))


def epochs_in(log: str) -> list[int]:
    return [int(epoch) for epoch in re.findall(r"^epoch (\d+)/", log, re.MULTILINE)]


def folder_of(seed: int) -> Path:
    """The run's only folder."""
    (folder,) = [path.parent for path in RUNS.glob("2*/config.json") if json.loads(path.read_text())["seed"] == seed]
    return folder


def test_the_runs_of_a_node_that_dies_go_on_elsewhere_and_none_is_lost_or_trained_twice(
    cluster: RayCluster, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = cluster.train("small.json", "--seed", 1, 2, 3)
    hung: dict[int, int] = {}

    def one_hangs_there() -> bool:
        for pid, seed in cluster.trained_on(SECOND).items():
            if len(epochs_in(log_of(f"seed={seed}"))) >= 2:
                os.kill(pid, signal.SIGSTOP)  # it neither trains nor ends, like all on a machine that hangs
                hung[pid] = seed
        return bool(hung)

    once(one_hangs_there)
    ((pid, seed),) = hung.items()
    cluster.kill_second()
    once(lambda: "another process is training this run; waiting for it to end" in log_of(f"seed={seed}"))
    before = epochs_in(log_of(f"seed={seed}"))
    os.kill(pid, signal.SIGCONT)  # it finds that it has been told to end, and writes a checkpoint
    _, err = command.communicate(timeout=LONGEST_WAIT)
    assert (command.returncode, err) == (0, "")
    assert [epochs_in(log_of(f"seed={each}")) for each in (1, 2, 3)] == [list(range(1, EPOCHS + 1))] * 3
    assert len(before) < EPOCHS
    assert re.search(r"^stopped by SIGTERM", log_of(f"seed={seed}"), re.MULTILINE)
    assert f"\nResuming from {folder_of(seed)}/checkpoint-epoch" in log_of(f"seed={seed}")

    found = load_checkpoint((folder_of(seed) / f"checkpoint-epoch{EPOCHS}.pth").absolute())
    recipe = Path("small.json").absolute()
    Path("undisturbed").mkdir()
    monkeypatch.chdir("undisturbed")
    assert shell("train.py", "-c", recipe, "--seed", seed).code == 0
    assert differences(found, load_checkpoint(folder_of(seed) / f"checkpoint-epoch{EPOCHS}.pth")) == []


def test_an_interruption_ends_runs_with_checkpoints_and_the_same_command_goes_on_and_tries_no_failure_again(
    cluster: RayCluster,
) -> None:
    rates = ("0.05", "0.04", "1e30")
    flags = ("--sweep", f"optimizer.args.lr={','.join(rates)}")
    command = cluster.train("small.json", *flags)
    once(lambda: all(epochs_in(log_of(f"optimizer.args.lr={rate}")) for rate in rates[:2]))
    cluster.interrupt(command)
    _, err = command.communicate(timeout=LONGEST_WAIT)
    assert command.returncode == 130
    assert "0 of 3 runs are finished; continue with: python " in err
    assert err.count("\n") == 1
    assert not cluster.trained_on(HEAD) and not cluster.trained_on(SECOND)
    begun = sorted(RUNS.glob("2*"))
    assert len(begun) == 2

    again = cluster.train("small.json", *flags)
    out, err = again.communicate(timeout=LONGEST_WAIT)
    assert (again.returncode, err) == (1, "")
    assert out.splitlines()[-1].startswith("failed: optimizer.args.lr=1e30: error: the loss is nan")
    assert log_of("optimizer.args.lr=1e30").count("error: ") == 1
    assert [epochs_in(log_of(f"optimizer.args.lr={rate}")) for rate in rates[:2]] == [list(range(1, EPOCHS + 1))] * 2
    assert {path.parent for path in RUNS.glob(f"2*/checkpoint-epoch{EPOCHS}.pth")} == set(begun)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("nonsense=1", "nonsense: --launcher ray has no such option; there are: address, accelerator_type, "),
        ("num_cpu=1", "num_cpu: --launcher ray has no such option; did you mean 'num_cpus'?"),
        ("num_cpus=two", "'num_cpus' must be "),
        ("address=local", "address=local: expected HOST:PORT of a cluster, from one of its nodes, or auto"),
        ("address=ray://head:10001", "address=ray://head:10001: expected HOST:PORT"),
        ("address=head", "no cluster can be reached (Invalid address format: head); start one with: ray start --head"),
    ],
)
def test_a_mistake_about_the_cluster_is_a_line(several: Several, option: str, told: str) -> None:
    pytest.importorskip("ray")
    ended = several("--launcher", "ray", "--launcher_option", option)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: --launcher")
    assert told in line
    assert not several.runs.exists()


JOB = Job(label="", command=(), log=Path("log"), gpus=2, workers=7)
CORES, ONE_GPU = {"CPU": 4.0}, {"CPU": 16.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("nodes", "options", "asked"),
    [
        ([{"CPU": 64.0, "GPU": 8.0}], {}, {"num_cpus": 8, "num_gpus": 2}),
        ([CORES, ONE_GPU], {}, {"num_cpus": 8, "num_gpus": 1}),
        ([CORES, {"CPU": 2.0, "GPU": 2.0}], {}, {"num_cpus": 2, "num_gpus": 2}),
        ([CORES], {}, {"num_cpus": 4, "num_gpus": 0}),
        ([{}], {}, {"num_cpus": 1, "num_gpus": 0}),
        ([], {}, {"num_cpus": 1, "num_gpus": 0}),
        ([CORES], {"num_gpus": 2, "max_retries": 3}, {"num_cpus": 4, "num_gpus": 2, "max_retries": 3}),
    ],
)
def test_a_run_asks_for_what_it_wants_as_far_as_a_node_has_it(
    nodes: list[Mapping[str, float]], options: dict[str, Any], asked: dict[str, Any]
) -> None:
    assert demand(JOB, nodes, options) == asked


@pytest.mark.parametrize(
    ("nodes", "options", "told"),
    [
        ([{"CPU": 64.0, "GPU": 8.0}], {}, []),
        (
            [CORES],
            {},
            [
                "No node of the cluster has num_cpus=8 and num_gpus=2: each run asks for num_cpus=4 and num_gpus=0 "
                "(to wait for a node that has: --launcher_option num_gpus=2)."
            ],
        ),
        (
            [ONE_GPU],
            {"num_gpus": 2},
            ["No node of the cluster has num_cpus=8 and num_gpus=2: the runs wait for one that has."],
        ),
        (
            [ONE_GPU],
            {"num_gpus": 0, "resources": {"fast": 1}},
            ["No node of the cluster has num_cpus=8 and resources={'fast': 1}: the runs wait for one that has."],
        ),
        ([{"CPU": 8.0, "fast": 2.0, "memory": 5e9}], {"num_gpus": 0, "resources": {"fast": 1}, "memory": 5e9}, []),
    ],
)
def test_what_no_node_has_is_told(nodes: list[Mapping[str, float]], options: dict[str, Any], told: list[str]) -> None:
    assert remarks_on(JOB, nodes, options) == told
