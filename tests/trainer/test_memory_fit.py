"""The search for the fewest micro-batches that fit into memory, on memories that are made up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from base import Batch, BatchShard, Step
from tests.ranks import in_processes
from tests.trainer.small_runs import CPU, small_config, small_trainer
from trainer.engine.memory_fit import fewest_that_fit, fit_memory, statistics_of_this_process
from trainer.methods.base import StepOutput
from trainer.trainer import Trainer
from utils.distributed.context import DistributedContext

pytestmark = pytest.mark.usefixtures("_quick_throughout")

GPU = torch.device("cuda", 0)


def needing(count: int, tried: list[int]) -> Callable[[int], None]:
    """An attempt that fits from `count` micro-batches on."""

    def attempt(number: int) -> None:
        tried.append(number)
        if number < count:
            raise torch.OutOfMemoryError(f"{number} are too few")

    return attempt


def alone(fitted: bool) -> bool:
    return fitted


# -- the search -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needed", "most", "expected"),
    [
        (1, 8, [1]),
        (2, 8, [1, 2]),
        (3, 8, [1, 2, 4]),
        (8, 8, [1, 2, 4, 8]),
        (5, 6, [1, 2, 4, 6]),
        (6, 6, [1, 2, 4, 6]),
        (3, 3, [1, 2, 3]),
        (1, 1, [1]),
    ],
)
def test_powers_of_two_are_tried_and_the_most_at_last(needed: int, most: int, expected: list[int]) -> None:
    tried: list[int] = []
    assert fewest_that_fit(needing(needed, tried), most, everywhere=alone) == expected[-1]
    assert tried == expected


@pytest.mark.parametrize("most", [1, 2, 6, 8])
def test_an_error_where_not_even_the_most_fit(most: int) -> None:
    tried: list[int] = []
    with pytest.raises(torch.OutOfMemoryError, match=f"{most} are too few"):
        fewest_that_fit(needing(100, tried), most, everywhere=alone)
    assert tried[-1] == most
    assert tried == sorted(set(tried)), "none twice"


def test_any_other_error_is_no_lack_of_memory() -> None:
    def attempt(number: int) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        fewest_that_fit(attempt, 8, everywhere=alone)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_libraries_tell_a_lack_of_memory_in_words_of_their_own(error: RuntimeError) -> None:
    def attempt(number: int) -> None:
        if number < 4:
            raise error

    assert fewest_that_fit(attempt, 8, everywhere=alone) == 4


def common_statistics(distributed: DistributedContext) -> list[int]:
    """How many processes a BatchNorm asks: before, within and after a trial."""
    layer = nn.SyncBatchNorm(3)
    found = [dist.get_world_size(layer.process_group)]
    with statistics_of_this_process(nn.Sequential(layer), distributed):
        found.append(dist.get_world_size(layer.process_group))
    return [*found, dist.get_world_size(layer.process_group)]


def test_while_it_is_tried_no_batchnorm_waits_for_another_process() -> None:
    assert in_processes(common_statistics, 3) == [[3, 1, 3]] * 3


def test_what_fits_here_and_not_elsewhere_does_not_fit() -> None:
    tried: list[int] = []
    asked: list[bool] = []
    answers = iter([False, False, True])

    def everywhere(fitted: bool) -> bool:
        asked.append(fitted)
        return next(answers)

    assert fewest_that_fit(needing(2, tried), 8, everywhere=everywhere) == 4
    assert (tried, asked) == ([1, 2, 4], [False, True, True])


def in_step(needs: list[int], most: list[int]) -> list[tuple[int, list[int]]]:
    """What processes find that need so many micro-batches and have so many groups: (count, tried), by rank."""
    meeting = threading.Barrier(len(needs), timeout=20)
    said = [False] * len(needs)
    found: list[tuple[int, list[int]]] = [(0, [])] * len(needs)

    def process(rank: int) -> None:
        tried: list[int] = []

        def everywhere(fitted: bool) -> bool:
            said[rank] = fitted
            meeting.wait()
            agreed = all(said)
            meeting.wait()
            return agreed

        found[rank] = fewest_that_fit(needing(needs[rank], tried), most[rank], everywhere=everywhere), tried

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(len(needs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_processes_take_as_many_as_the_one_that_needs_most() -> None:
    assert in_step([1, 3, 1], [8, 8, 8]) == [(4, [1, 2, 4])] * 3


def test_a_process_with_fewer_groups_waits_for_the_others_with_all_it_has() -> None:
    assert in_step([1, 3], [2, 8]) == [(2, [1, 2, 2]), (4, [1, 2, 4])]
    assert in_step([1, 5], [1, 6]) == [(1, [1, 1, 1, 1]), (6, [1, 2, 4, 6])]


# -- fit_memory -------------------------------------------------------------------------------------------------------


def auto_trainer(folder: Path, **changes: object) -> Trainer:
    """78 images: batches of 32 in groups of 4."""
    return small_trainer(folder, small_config(trainer__accumulate_steps="auto", **changes))


def kept(runner: Trainer) -> dict[str, Tensor]:
    """Weights and BatchNorm's statistics."""
    return {name: value.clone() for name, value in runner.method.network.state_dict().items()}


def pretend_memory(runner: Trainer, monkeypatch: pytest.MonkeyPatch, images: int) -> list[BatchShard]:
    """Let the trainer believe in a GPU that holds so many images; returns the parts that are tried."""
    engine = runner.engine
    add_gradients = engine.add_gradients
    tried: list[BatchShard] = []

    def limited(part: Mapping[str, Batch], step: Step, *, alone: bool) -> StepOutput:
        assert alone, "a process that waits for one that has run out of memory waits for ever"
        batch = part["train"]
        assert len(batch.images) == len(batch.sample_ids) == len(batch.shard)
        tried.append(batch.shard)
        engine.device = CPU
        try:
            output = add_gradients(part, step, alone=alone)  # the memory runs out late, and leaves its traces
            if len(batch.shard) > images:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return output
        finally:
            engine.device = GPU

    monkeypatch.setattr(engine, "add_gradients", limited)
    monkeypatch.setattr(engine, "device", GPU)
    return tried


@pytest.mark.parametrize(("memory", "expected"), [(100, [32]), (32, [32]), (16, [32, 16, 16]), (15, [32, 16, 8, 8])])
def test_the_largest_micro_batch_is_tried_and_what_fits_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int, expected: list[int]
) -> None:
    """Of several micro-batches two are, since the second finds the gradients of the first in memory."""
    runner = auto_trainer(tmp_path)
    tried = pretend_memory(runner, monkeypatch, memory)
    fit_memory(runner)
    runner.recorder.close()
    count = 32 // expected[-1]
    assert [len(part) for part in tried] == expected
    assert runner.state.accumulate_steps == count
    assert runner.engine.accumulate_steps == count
    batch = next(runner.loaders["train"].epoch(1))
    parts = runner.engine.micro_batches({"train": batch})
    assert [len(part["train"].shard) for part in parts] == [expected[-1]] * count


def test_where_groups_do_not_go_evenly_into_parts_the_larger_part_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """41 images are eight groups of five and one left over, in the last: two parts of 20 and 21."""
    runner = auto_trainer(tmp_path, data_loader__args__batch_size=41)
    tried = pretend_memory(runner, monkeypatch, 20)
    fit_memory(runner)
    runner.recorder.close()
    assert [len(part) for part in tried] == [41, 21, 11, 11]
    assert runner.state.accumulate_steps == 4


def test_the_trial_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the run's state nor in what it ends with."""
    config = small_config(trainer__accumulate_steps="auto", arch__args__dropout=0.3)
    ends = []
    for name, memory in (("roomy", 100), ("told", 0)):
        runner = small_trainer(tmp_path / name, config)
        if memory:
            before = kept(runner)
            pretend_memory(runner, monkeypatch, memory)
            fit_memory(runner)
            monkeypatch.undo()
            assert all(torch.equal(value, before[key]) for key, value in kept(runner).items())
            assert all(weight.grad is None for weight in runner.method.network.parameters())
            assert (runner.state.epoch, runner.state.step, runner.meters.means()) == (0, 0, {})
            assert not runner.optimizer.state
        runner.train()
        ends.append((kept(runner), runner.state.history))
    (weights, history), (expected, expected_history) = ends
    assert all(torch.equal(value, expected[key]) for key, value in weights.items())
    assert history == expected_history


def test_a_failed_trial_leaves_no_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = auto_trainer(tmp_path)
    tried = pretend_memory(runner, monkeypatch, 3)
    with pytest.raises(torch.OutOfMemoryError):
        fit_memory(runner)
    runner.recorder.close()
    assert [len(part) for part in tried] == [32, 16, 8, 4]
    assert all(weight.grad is None for weight in runner.method.network.parameters())


def test_what_was_found_is_told_and_taken_up_by_a_continued_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runner = auto_trainer(tmp_path)
    pretend_memory(runner, monkeypatch, 8)
    with caplog.at_level(logging.INFO):
        fit_memory(runner)
    assert "8 images" in caplog.text
    path = runner.save("checkpoint-epoch0-step0.pth")
    runner.recorder.close()
    config = small_config(trainer__accumulate_steps="auto")
    continued = small_trainer(tmp_path, config, resume=path)
    continued.recorder.close()
    assert continued.engine.accumulate_steps == 4
    tried = pretend_memory(continued, monkeypatch, 100)
    fit_memory(continued)
    assert tried == [], "nothing is left to find"
    assert continued.state.accumulate_steps == 4


def test_a_cpu_takes_everything_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = auto_trainer(tmp_path, n_gpu=4)
    before = kept(runner)
    monkeypatch.setattr(runner.engine, "add_gradients", None)
    fit_memory(runner)
    runner.recorder.close()
    assert (runner.state.accumulate_steps, runner.engine.accumulate_steps) == (0, 1)
    assert all(torch.equal(value, before[name]) for name, value in kept(runner).items())
