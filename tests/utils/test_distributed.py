"""Who the processes of a run are, and what they tell one another."""

from __future__ import annotations

import logging
import os
from itertools import product
from pathlib import Path

import pytest
import torch

from tests.forks import run_forked
from tests.ranks import in_processes
from utils.distributed import environment
from utils.distributed.context import Agreement, DistributedContext, leaving
from utils.distributed.device import choose_device
from utils.distributed.environment import LaunchEnvironment, Silently, launch_environment, report_once, set_visible_gpus
from utils.errors import UserError

VARIABLES = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "TORCHELASTIC_RESTART_COUNT",
    "TORCHELASTIC_RUN_ID",
)


@pytest.fixture(autouse=True)
def _nobody_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def launched(monkeypatch: pytest.MonkeyPatch, *values: str) -> LaunchEnvironment:
    for name, value in zip(VARIABLES, values, strict=False):
        monkeypatch.setenv(name, value)
    return launch_environment()


def test_without_a_gpu_the_cpu_is_used_and_rank_0_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for context in (DistributedContext(rank=0, size=2), DistributedContext(rank=1, size=2)):
        assert choose_device(1, context).type == "cpu"
    assert [record.getMessage() for record in caplog.records] == ["No GPU found; using the CPU."]


@pytest.mark.parametrize(
    ("gpus", "told"),
    [
        (1, "4 processes but only 1 GPU on this machine: start 1 process (torchrun --nproc_per_node=1)"),
        (2, "4 processes but only 2 GPUs on this machine: start 2 processes (torchrun --nproc_per_node=2)"),
    ],
)
def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch, gpus: int, told: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UserError) as caught:
        choose_device(4, DistributedContext(size=4, local_size=4))
    assert str(caught.value) == f"{told}, or set n_gpu=0 to train on the CPU"


def test_convolutions_of_a_gpu_are_told_to_be_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    assert choose_device(2, DistributedContext(rank=1, size=2, local_rank=1, local_size=2)) == torch.device("cuda", 1)
    assert torch.backends.cudnn.deterministic


def test_a_process_that_nobody_launched_is_alone() -> None:
    assert launch_environment() == LaunchEnvironment()
    assert LaunchEnvironment().is_main


def test_what_torchrun_says_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = launched(monkeypatch, "5", "8", "1", "4", "2", "job7")
    assert (
        distributed.rank,
        distributed.size,
        distributed.local_rank,
        distributed.local_size,
        distributed.restarts,
    ) == (5, 8, 1, 4, 2)
    assert distributed.launch == "job7"
    assert not distributed.is_main


def test_without_a_name_a_launch_is_its_launchers_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every start of torchrun is another process, and it is the same one that starts the others again."""
    first = launched(monkeypatch, "0", "2", "0", "2", "0", "none")
    again = launched(monkeypatch, "0", "2", "0", "2", "1", "none")
    assert first.launch == again.launch != ""
    monkeypatch.setattr("os.getppid", lambda: 1)
    assert launched(monkeypatch, "0", "2", "0", "2", "0", "none").launch != first.launch


@pytest.mark.parametrize(
    "values",
    [
        ("2", "2"),
        ("-1", "2"),
        ("0", "many"),
        ("0", "2", "first"),
        ("0", "2", "0", "0"),
        ("0", "2", "0", "-1"),
        ("1", "2", "1", "1"),
        ("0", "2", "-1", "2"),
        ("0", "2", "0", "9" * 5000),
    ],
)
def test_contradictions_of_a_launcher_are_told(monkeypatch: pytest.MonkeyPatch, values: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="RANK"):
        launched(monkeypatch, *values)


def test_a_launcher_may_leave_out_how_many_processes_a_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched(monkeypatch, "3", "4", "1").local_rank == 1


@pytest.mark.parametrize("visible", ["", "0,", "gpu", "²", "٣", "-1", "0;1", "1.5"])
def test_what_is_no_list_of_gpus_is_refused(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(UserError, match=f"-d {visible}: expected GPU indices such as 0 or 0,1"):
        set_visible_gpus(visible)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


def test_of_each_machine_one_process_tells_a_mistake_and_the_others_wait_for_the_launcher_to_end_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(environment.time, "sleep", waited.append)
    for local_rank, waits in ((0, []), (1, [30.0])):
        with pytest.raises(UserError, match="wrong"), report_once(DistributedContext(rank=4, local_rank=local_rank)):
            raise UserError("wrong")
        assert waited == waits


def one_after_the_other(distributed: DistributedContext, folder: Path) -> list[str]:
    with distributed.main_first():
        found = sorted(path.name for path in folder.iterdir())
        (folder / f"rank{distributed.rank}").touch()
    return found


def test_rank_0_goes_first(tmp_path: Path) -> None:
    first, *others = in_processes(one_after_the_other, 3, tmp_path)
    assert first == []
    assert all("rank0" in found for found in others)


def rank_0_fails(distributed: DistributedContext) -> None:
    with distributed.main_first():
        raise UserError(f"no data for {distributed.rank}")


def test_where_rank_0_fails_the_others_end_without_a_word() -> None:
    main, other = in_processes(rank_0_fails, 2)
    assert isinstance(main, UserError)
    assert str(main) == "no data for 0"
    assert isinstance(other, Silently)
    assert other.exit_code == UserError.exit_code


def wishes(distributed: DistributedContext, wished: list[list[int]]) -> list[int]:
    agree = Agreement(distributed)
    return [agree(lambda wish=wish: wish) for wish in wished[distributed.rank]]  # type: ignore[misc]


def test_the_greatest_wish_is_known_to_all_one_call_later() -> None:
    wished = [[0, 2, 0, 0, 1, 0, 0], [0, 0, 0, 3, 3, 0, 0]]
    #                 nobody is asked at the call that agrees on something: the 1 of the fifth call is not heard
    assert in_processes(wishes, 2, wished) == [[0, 0, 2, 0, 3, 0, 0]] * 2
    assert wishes(DistributedContext(), wished[:1]) == wished[0], "a process that is alone is heard at once"


def exchanges(distributed: DistributedContext) -> tuple[list[int], str, list[float]]:
    return (
        distributed.gather(10 * distributed.rank),
        distributed.from_main(f"of {distributed.rank}"),
        distributed.sum(torch.tensor([1.0, 2.0])).tolist(),
    )


def test_plain_data_go_round() -> None:
    assert in_processes(exchanges, 3) == [([0, 10, 20], "of 0", [3.0, 6.0])] * 3
    assert exchanges(DistributedContext()) == ([0], "of 0", [1.0, 2.0])


# -- the end ----------------------------------------------------------------------------------------------------------

LEAVING = """
import sys, time
import torch.distributed as dist
from utils.distributed.context import leaving
from utils.errors import RunError, UserError, run_main
dist.destroy_process_group = lambda: print("destroyed", flush=True) or time.sleep(0 if {backend!r} == "gloo" else 60)
def main():
    with leaving({backend!r}):
        {does}
run_main(main)
"""
ENDS = [
    ("raise RunError('one GPU is out of memory')", 1, "error: one GPU is out of memory\n"),
    ("raise UserError('wrong')", 2, "error: wrong\n"),
    ("raise KeyboardInterrupt", 130, ""),
    ("sys.exit(7)", 7, ""),
    ("sys.exit()", 0, ""),
    ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
]


def test_after_an_error_a_process_on_a_gpu_waits_for_nobody() -> None:
    """NCCL's destruction hangs where another process never comes to it; here it takes a minute, and isn't called."""
    cases = list(product(("nccl", "gloo"), ENDS))
    ended = run_forked(LEAVING.format(backend=backend, does=does) for backend, (does, _, _) in cases)
    for (backend, (does, code, told)), end in zip(cases, ended, strict=True):
        assert end.code == code, does
        assert end.err.endswith(told), does
        assert end.out == ("destroyed\n" if backend == "gloo" else ""), does


WORKERS = """
import multiprocessing, sys, time
from utils.distributed.context import leaving
from utils.errors import RunError, run_main
def main():
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True)
    worker.start()
    print(worker.pid, flush=True)
    print("not yet written", end="")
    with leaving("nccl"):
        raise RunError("one GPU is out of memory")
run_main(main)
"""


def test_it_leaves_no_worker_behind_and_its_words_are_written() -> None:
    (end,) = run_forked([WORKERS])
    worker, _, said = end.out.partition("\n")
    assert (end.code, said, end.err) == (1, "not yet written", "error: one GPU is out of memory\n")
    assert not Path(f"/proc/{worker}").exists()


CLOSED = """
import os, sys
from utils.distributed.context import leaving
reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 1)
sys.stdout = open(1, "w", closefd=False)
sys.stdout.write("nobody reads this")
with leaving("nccl"):
    1 / 0
"""


def test_it_ends_where_nobody_reads_its_output() -> None:
    (end,) = run_forked([CLOSED])
    assert end.code == 1
    assert end.err.endswith("ZeroDivisionError: division by zero\n")


def test_processes_that_are_done_part_in_an_orderly_way(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: ends.append(1))
    with leaving("nccl"):
        assert not ends
    assert ends == [1]
