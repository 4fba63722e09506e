"""Several processes train and evaluate as one does: the same samples, mixing and gradients, every image once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from base import Batch, BatchShard, Step
from data_loader.data_loaders.digits import ImbalanceDigitsDataLoader
from data_loader.datasets.image_sets import ArraySet, ImageSet
from data_loader.datasets.splits import Splits
from tests.ranks import CPU, in_processes
from tests.trainer.normfree import build_exact_networks
from tests.trainer.small_runs import make_quick, same_weights, small_config, small_trainer
from trainer.engine.loss_guard import REPORT_NAME
from trainer.evaluation.predictions import predict
from trainer.methods.base import StepOutput
from trainer.methods.mixing import MixedBatch
from trainer.trainer import Trainer
from utils.distributed.context import DistributedContext
from utils.distributed.environment import Silently
from utils.errors import RunError
from utils.files.checkpoint import load_checkpoint
from utils.signals import RunStopped

# 78 images: batches of 30, 30 and 18, the last of which has groups of two
SMALL = {"data_loader__args__batch_size": 30, "trainer__epochs": 1}

pytestmark = pytest.mark.usefixtures("_quick")  # what is computed here, and not by others


@dataclass
class Seen:
    """What a process saw of a step."""

    sample_ids: np.ndarray
    mixed: list[tuple[int, int, float, list[int]]]  # begin, end, λ, partners in the global batch
    gradients: dict[str, Tensor]


def watched(runner: Trainer) -> list[Seen]:
    """A list that fills with the steps of a trainer as it trains."""
    seen: list[Seen] = []
    step_of, method = runner.train_step, runner.method
    mixing = method.mixing
    mixed: list[tuple[int, int, float, list[int]]] = []

    def mix(images: Tensor, targets: Tensor, step: Step, shard: BatchShard) -> MixedBatch:
        batch = mixing(images, targets, step, shard)
        if not shard.is_placeholder:
            partners = [] if batch.partner is None else (batch.partner + shard.begin).tolist()
            mixed.append((shard.begin, shard.end, batch.targets.mix_lambda, partners))
        return batch

    def train_step(batches: Mapping[str, Batch], step: Step) -> None:
        mixed.clear()
        step_of(batches, step)
        gradients = {name: weight.grad.clone() for name, weight in method.network.named_parameters()}
        batch = batches["train"]
        seen.append(Seen(batch.sample_ids[: batch.shard.num_counted], list(mixed), gradients))

    method.mixing = mix
    runner.train_step = train_step  # type: ignore[method-assign]
    return seen


def train_and_watch(
    distributed: DistributedContext, folder: Path, config: Mapping[str, Any]
) -> tuple[list[Seen], list[dict[str, float]]]:
    make_quick()
    build_exact_networks()
    runner = small_trainer(folder, config, distributed=distributed)
    steps = watched(runner)
    runner.train()
    return steps, runner.state.history


@pytest.mark.parametrize(("mode", "strategy"), [("mixup_cutmix", "mix_input"), ("mixup", "mix_logits")])
def test_samples_mixing_and_gradients_are_those_of_one_process(tmp_path: Path, mode: str, strategy: str) -> None:
    config = small_config(
        **SMALL, combiner__mode=mode, combiner__mixup__target_mix_strategy=strategy, arch__args__dropout=0.3
    )
    (alone, (log,)), *_ = in_processes(train_and_watch, 1, tmp_path / "1", config)
    assert [len(step.sample_ids) for step in alone] == [30, 30, 18]
    for size in (2, 3):
        together = in_processes(train_and_watch, size, tmp_path / str(size), config)
        for number, whole in enumerate(alone):
            parts = [steps[number] for steps, _ in together]
            assert np.concatenate([part.sample_ids for part in parts]).tolist() == whole.sample_ids.tolist()
            ((_, _, mix_lambda, partners),) = whole.mixed
            mixed = [place for part in parts for place in part.mixed]
            assert [i for begin, end, *_ in mixed for i in range(begin, end)] == list(range(len(whole.sample_ids)))
            assert {share for _, _, share, _ in mixed} == {mix_lambda}
            assert [i for *_, found in mixed for i in found] == partners
            for name, expected in whole.gradients.items():
                for part in parts:
                    torch.testing.assert_close(part.gradients[name], expected, rtol=0, atol=1e-9, msg=name)
        for _, (theirs,) in together:
            assert theirs == pytest.approx(log, rel=1e-6)  # metrics are computed in float32


def test_processes_without_images_of_their_own_take_part_all_the_same(tmp_path: Path) -> None:
    """An epoch's last batch has two images here, one group: two of three processes borrow it."""
    config = small_config(**{**SMALL, "data_loader__args__batch_size": 38})
    (alone, (log,)), *_ = in_processes(train_and_watch, 1, tmp_path / "1", config)
    assert [len(step.sample_ids) for step in alone] == [38, 38, 2]
    together = in_processes(train_and_watch, 3, tmp_path / "3", config)
    assert sorted(len(steps[2].sample_ids) for steps, _ in together) == [0, 0, 2]
    for steps, (theirs,) in together:
        torch.testing.assert_close(steps[2].gradients, alone[2].gradients, rtol=0, atol=1e-9)
        assert theirs == pytest.approx(log, rel=1e-6)  # metrics are computed in float32


def train_after_a_trial(
    distributed: DistributedContext, folder: Path, config: Mapping[str, Any]
) -> list[dict[str, Tensor]]:
    """One process tries a forward and a backward pass by itself, as when it looks for what fits into its memory."""
    make_quick()
    build_exact_networks()
    runner = small_trainer(folder, config, distributed=distributed)
    if distributed.rank == 1:
        batch = next(runner.loaders["train"].epoch(1, rank=1, size=distributed.size))
        runner.engine.add_gradients({"train": batch}, Step(1, 0), alone=True)
        runner.optimizer.zero_grad(set_to_none=True)
    steps = watched(runner)
    runner.train()
    return [step.gradients for step in steps]


def test_what_a_process_tries_alone_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    config = small_config(**SMALL)
    (plain, _), _ = in_processes(train_and_watch, 2, tmp_path / "plain", config)
    for gradients in in_processes(train_after_a_trial, 2, tmp_path / "tried", config):
        torch.testing.assert_close(gradients, [step.gradients for step in plain], rtol=0, atol=0)


def statistics(distributed: DistributedContext, folder: Path) -> list[Tensor]:
    """BatchNorm's, end to end: after the steps of an epoch, and when the next one begins."""
    make_quick()
    runner = small_trainer(folder, small_config(**SMALL), distributed=distributed)
    runner.train_steps(1)
    found = [torch.cat([buffer.flatten() for buffer in runner.method.network.buffers()])]
    runner.engine.follow_parameters()
    return [*found, torch.cat([buffer.flatten() for buffer in runner.method.network.buffers()])]


def test_batchnorms_statistics_are_each_process_own_within_an_epoch_and_begin_as_those_of_rank_0(
    tmp_path: Path,
) -> None:
    (main, main_then), (other, other_then) = in_processes(statistics, 2, tmp_path)
    assert not torch.equal(main, other)
    assert torch.equal(main_then, main)
    assert torch.equal(other_then, main)


# -- evaluation -------------------------------------------------------------------------------------------------------


class ManyDataLoader(ImbalanceDigitsDataLoader):
    """1,003 test images: no multiple of any batch or number of processes."""

    def load_splits(self) -> Splits[ImageSet]:
        splits = super().load_splits()
        random = np.random.default_rng(0)
        images = torch.from_numpy(random.integers(0, 256, (1003, 3, 16, 16), dtype=np.uint8))
        test = ArraySet(images, random.integers(0, 10, 1003))
        return splits.replaced(validation=test, test=test)


def evaluate(distributed: DistributedContext, folder: Path) -> list[Any]:
    """Predictions in batches of various sizes."""
    make_quick()
    network = small_trainer(folder, small_config(), distributed=distributed).method.network
    loaders = (ManyDataLoader(batch_size=size, num_workers=0).of_split("test") for size in (17, 100, 600, 2000))
    return [predict(network, loader, CPU, distributed=distributed) for loader in loaders]


@pytest.mark.parametrize("size", [2, 3])
def test_every_image_is_evaluated_once_and_to_the_same_bits(tmp_path: Path, size: int) -> None:
    alone = evaluate(DistributedContext(), tmp_path / "alone")
    main, *others = in_processes(evaluate, size, tmp_path / "shared")
    assert others == [[None] * len(alone)] * (size - 1)
    for (logits, targets, _), (shared_logits, shared_targets, _) in zip(alone, main, strict=True):
        assert logits.shape == (1003, 2, 10)
        np.testing.assert_array_equal(shared_logits, logits)
        np.testing.assert_array_equal(shared_targets, targets)


def validate(distributed: DistributedContext, folder: Path, config: Mapping[str, Any]) -> list[dict[str, float]]:
    make_quick()
    runner = small_trainer(folder, config, distributed=distributed)
    runner.train()
    return runner.state.history


def test_all_processes_know_the_same_of_an_epoch(tmp_path: Path) -> None:
    config = small_config(trainer__validate=True, trainer__monitor="max val_accuracy")
    first, second = in_processes(validate, 2, tmp_path, config)
    assert first == second
    assert {"loss", "accuracy", "lr", "val_loss", "val_balanced_accuracy", "val_accuracy"} < first[0].keys()
    written = load_checkpoint(tmp_path / "checkpoint-epoch2.pth")
    assert written["progress"]["history"] == first


# -- the end of a run, and its continuation ---------------------------------------------------------------------------


def train(
    distributed: DistributedContext, folder: Path, config: Mapping[str, Any], resume: Path | None, stop: Any = None
) -> str:
    """Train; `stop` is (rank, step): that process is sent SIGTERM before the step. Says how the run ended."""
    make_quick()
    build_exact_networks()
    runner = small_trainer(folder, config, resume=resume, distributed=distributed)
    step_of = runner.train_step
    done = 0

    def train_step(batches: Mapping[str, Batch], step: Step) -> None:
        nonlocal done
        if (distributed.rank, done) == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        done += 1
        step_of(batches, step)

    runner.train_step = train_step  # type: ignore[method-assign]
    try:
        runner.train()
    except RunStopped as stopped:
        return f"{stopped.exit_code} {stopped}".strip()
    return "done"


TWO_EPOCHS = {**SMALL, "trainer__epochs": 2, "trainer__validate": True}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The last checkpoint of two processes that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert in_processes(train, 2, folder, small_config(**TWO_EPOCHS), None) == ["done", "done"]
    return load_checkpoint(folder / "checkpoint-epoch2.pth")


@pytest.mark.parametrize("stop", [(0, 1), (1, 2)])
def test_a_signal_to_one_process_ends_all_after_the_same_step(
    tmp_path: Path, undisturbed: dict[str, Any], stop: tuple[int, int]
) -> None:
    config = small_config(**TWO_EPOCHS)
    main, other = in_processes(train, 2, tmp_path, config, None, stop)
    (checkpoint,) = tmp_path.glob("checkpoint-*.pth")
    assert main == f"143 stopped by SIGTERM; continue with: python train.py -r {checkpoint}"
    assert other == "143", "one process talks"
    assert in_processes(train, 2, tmp_path, config, checkpoint) == ["done", "done"]
    continued = load_checkpoint(tmp_path / "checkpoint-epoch2.pth")
    assert same_weights(undisturbed, continued)
    assert undisturbed["progress"]["history"] == continued["progress"]["history"]


def test_a_run_may_be_continued_by_another_number_of_processes(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    config = small_config(**TWO_EPOCHS)
    (said, _, _) = in_processes(train, 3, tmp_path, config, None, (2, 1))
    assert "SIGTERM" in said
    (checkpoint,) = tmp_path.glob("checkpoint-*.pth")
    assert in_processes(train, 1, tmp_path, config, checkpoint) == ["done"]
    changing = load_checkpoint(tmp_path / "checkpoint-epoch2.pth")
    torch.testing.assert_close(changing["state_dict"], undisturbed["state_dict"], rtol=0, atol=1e-9)
    for ours, theirs in zip(changing["progress"]["history"], undisturbed["progress"]["history"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)


def diverge(distributed: DistributedContext, folder: Path, action: str) -> tuple[str, int, Tensor]:
    """One process's share of a batch gives no number; what it says of the end, steps skipped, a weight."""
    make_quick()
    runner = small_trainer(folder, small_config(**SMALL, trainer__on_nonfinite=action), distributed=distributed)
    gradients_of = runner.engine.add_gradients

    def add_gradients(part: Mapping[str, Batch], step: Step) -> StepOutput:
        output = gradients_of(part, step)
        broken = (distributed.rank, step.index) == (1, 1)
        return output._replace(loss=output.loss * float("nan")) if broken else output

    runner.engine.add_gradients = add_gradients  # type: ignore[method-assign]
    try:
        runner.train()
        said = "done"
    except RunError as error:
        said = str(error)
    return said, runner.state.skipped_steps, next(runner.method.network.parameters()).detach()


def test_a_loss_that_is_no_number_in_one_process_ends_all(tmp_path: Path) -> None:
    (main, _, _), (other, _, _) = in_processes(diverge, 2, tmp_path, "stop")
    assert main.startswith("the loss is nan in epoch 1, step 1 ")
    assert other == "", "one process talks"
    report = json.loads((tmp_path / REPORT_NAME).read_text())
    whole = small_trainer(tmp_path / "other", small_config(**SMALL)).loaders["train"].epoch(1, first_step=1)
    assert report["indices"] == next(whole).sample_ids[:, 1].tolist(), "of the global batch"
    assert not list(tmp_path.glob("*.pth"))


def test_a_step_that_is_skipped_is_skipped_by_all(tmp_path: Path) -> None:
    (main, ours, weight), (other, theirs, same_weight) = in_processes(diverge, 2, tmp_path, "skip")
    assert (main, other, ours, theirs) == ("done", "done", 1, 1)
    assert torch.equal(weight, same_weight)


def vanish(distributed: DistributedContext, folder: Path) -> None:
    make_quick()
    runner = small_trainer(folder, small_config(trainer__epochs=50), distributed=distributed)
    if distributed.rank == 1:
        runner.train_step = lambda *_: os._exit(9)  # type: ignore[method-assign]
    runner.train()


def test_a_process_that_is_lost_is_told_in_one_line_by_rank_0(tmp_path: Path) -> None:
    main, lost, other = in_processes(vanish, 3, tmp_path)
    assert lost is None
    assert isinstance(main, RunError)
    assert str(main).startswith("another process of this run died (")
    assert isinstance(other, Silently)
    assert str(other) == ""
