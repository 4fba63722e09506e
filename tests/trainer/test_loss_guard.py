"""A loss or a weight that is no finite number ends the run or skips the step, and never reaches a checkpoint."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trainer.engine.loss_guard
from base import Batch, RunFolder, RunState, Step
from tests.trainer.small_runs import run, same_weights, small_config, small_trainer
from trainer.engine.loss_guard import REPORT_NAME, LossGuard
from trainer.trainer import Trainer
from utils.distributed.context import DistributedContext
from utils.errors import RunError
from utils.files.checkpoint import load_checkpoint

pytestmark = pytest.mark.usefixtures("_quick")

NAN, INF = math.nan, math.inf
SMALL = {"data_loader__args__batch_size": 30, "trainer__validate": True}  # 78 images: 3 steps an epoch


def sample_ids(step: int) -> np.ndarray:
    """Epoch, sample index, repeat of a batch of two; the indices tell the step."""
    return np.array([[1, 10 * step, 0], [1, 10 * step + 1, 2]])


def guard_of(
    folder: Path, *, action: Any = "stop", max_skipped: int = 2, network: nn.Module | None = None
) -> LossGuard:
    network = nn.Linear(2, 2) if network is None else network
    return LossGuard(action, max_skipped, network, RunState(), RunFolder(folder), distributed=DistributedContext())


def show(guard: LossGuard, losses: list[float], *, device: str = "cpu") -> list[bool]:
    """What the guard says of the losses of steps 0, 1, … of epoch 3."""
    answers = []
    for step, loss in enumerate(losses):
        guard.before_step()
        answers.append(guard.is_finite_step(Elsewhere(loss, device), Step(3, step), 0.25, sample_ids(step)))
    return answers


class Elsewhere(torch.Tensor):
    """A number that claims to lie on another device."""

    claimed: str

    def __new__(cls, value: float, device: str) -> Elsewhere:
        made = torch.tensor(value).as_subclass(cls)
        made.claimed = device
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device(self.claimed)

    def detach(self) -> Tensor:
        return torch.tensor(float(self))


# -- one step ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [NAN, INF, -INF])
def test_on_the_cpu_the_step_itself_is_stopped(tmp_path: Path, loss: float) -> None:
    guard = guard_of(tmp_path)
    assert show(guard, [1.0, 2.0]) == [True, True]
    with pytest.raises(RunError) as caught:
        show(guard, [loss])
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert line.startswith(f"the loss is {loss} in epoch 3, step 0 (learning rate 0.25): stopped")
    assert str(tmp_path / REPORT_NAME) in line
    assert f"python train.py -c {tmp_path}/config.json" in line, "there is no checkpoint yet"


def test_the_report_names_the_step_and_its_images(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-epoch2.pth").touch()
    with pytest.raises(RunError, match=r"reproduce with: python train\.py -r .*checkpoint-epoch2\.pth$"):
        show(guard_of(tmp_path), [1.0, 1.0, NAN])
    report = json.loads((tmp_path / REPORT_NAME).read_text())
    assert (report["epoch"], report["step"], report["learning_rate"], report["loss"]) == (3, 2, 0.25, "nan")
    assert report["indices"] == [20, 21]
    assert report["repeats"] == [0, 2]
    assert report["repeat_with"] == f"python train.py -r {tmp_path}/checkpoint-epoch2.pth"


def test_the_command_is_quoted_for_the_shell(tmp_path: Path) -> None:
    folder = tmp_path / "it's a run"
    folder.mkdir()
    (folder / "checkpoint-epoch2.pth").touch()
    with pytest.raises(RunError) as caught:
        show(guard_of(folder), [NAN])
    command = str(caught.value).partition("reproduce with: ")[2]
    assert shlex.split(command) == ["python", "train.py", "-r", f"{folder}/checkpoint-epoch2.pth"]


# -- an accelerator, where each look costs a wait ---------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 3, 4])
def test_a_late_look_finds_the_exact_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    monkeypatch.setattr(trainer.engine.loss_guard, "_INTERVAL", 5)
    guard = guard_of(tmp_path)
    losses = [1.0] * at + [NAN] * (5 - at)
    assert show(guard, losses[:4], device="cuda") == [True] * 4, "nobody has looked yet"
    with pytest.raises(RunError, match=f"epoch 3, step {at} "):
        guard.is_finite_step(Elsewhere(losses[4], "cuda"), Step(3, 4), 0.25, sample_ids(4))
    assert json.loads((tmp_path / REPORT_NAME).read_text())["indices"] == [10 * at, 10 * at + 1]


def test_before_a_checkpoint_all_losses_are_looked_at(tmp_path: Path) -> None:
    guard = guard_of(tmp_path)
    show(guard, [1.0, INF, 1.0], device="cuda")
    with pytest.raises(RunError, match="the loss is inf in epoch 3, step 1 "):
        guard.check()


def test_what_has_been_looked_at_is_not_looked_at_again(tmp_path: Path) -> None:
    guard = guard_of(tmp_path)
    show(guard, [1.0, 2.0], device="cuda")
    guard.check()
    guard.check()
    with pytest.raises(RunError, match="step 0 "):
        show(guard, [NAN], device="cpu")


# -- skipping ---------------------------------------------------------------------------------------------------------


def test_a_skipped_step_leaves_the_buffers_as_they_were(tmp_path: Path) -> None:
    network = nn.BatchNorm2d(3)
    guard = guard_of(tmp_path, action="skip", network=network)
    guard.before_step()
    network(torch.randn(4, 3, 2, 2))
    assert guard.is_finite_step(torch.tensor(1.0), Step(1, 0), 0.1, sample_ids(0))
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    guard.before_step()
    network(torch.full((4, 3, 2, 2), NAN))
    assert network.running_mean.isnan().all()
    assert not guard.is_finite_step(torch.tensor(NAN), Step(1, 1), 0.1, sample_ids(1))
    assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())
    assert guard.state.skipped_steps == 1


def test_skipping_has_an_end(tmp_path: Path) -> None:
    guard = guard_of(tmp_path, action="skip", max_skipped=2)
    assert show(guard, [NAN, 1.0, INF]) == [False, True, False]
    assert guard.state.skipped_steps == 2
    with pytest.raises(RunError, match=r"in epoch 3, step 0 \(learning rate 0\.25\) after 3 skipped steps: stopped"):
        show(guard, [NAN])


# -- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["stop", "skip"])
@pytest.mark.parametrize("value", [NAN, INF])
def test_weights_that_a_finite_loss_has_broken_are_noticed_before_a_checkpoint(
    tmp_path: Path, action: str, value: float
) -> None:
    network = nn.Linear(2, 2)
    guard = guard_of(tmp_path, action=action, network=network)
    show(guard, [1.0, 2.0])
    guard.check()
    show(guard, [3.0])
    with torch.no_grad():
        network.weight[1, 0] = value
    with pytest.raises(RunError, match="weights become infinite or nan in epoch 3, step 0 ") as caught:
        guard.check()
    assert len(str(caught.value).splitlines()) == 1
    assert json.loads((tmp_path / REPORT_NAME).read_text())["loss"] == "3.0"


# -- in a run ---------------------------------------------------------------------------------------------------------


def with_losses(trainer: Trainer, change: Callable[[int, int], float]) -> Trainer:
    """Multiply the loss of each step; (epoch, step) → factor."""
    step_of, criterion = trainer.train_step, trainer.method.criterion
    loss_of = criterion.forward
    now = Step(0, 0)

    def train_step(batches: Mapping[str, Batch], step: Step) -> None:
        nonlocal now
        now = step
        step_of(batches, step)

    def changed(*arguments: Any, **options: Any) -> Tensor:
        return loss_of(*arguments, **options) * change(now.epoch, now.index)

    trainer.train_step, criterion.forward = train_step, changed  # type: ignore[method-assign]
    return trainer


def all_finite(value: Any) -> bool:
    """Whether everything in a checkpoint is a finite number (or none at all)."""
    if isinstance(value, torch.Tensor):
        return bool(value.isfinite().all())
    if isinstance(value, dict):
        return all(all_finite(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(all_finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def test_a_run_stops_at_the_step_and_its_checkpoints_are_sound(tmp_path: Path) -> None:
    config = small_config(**SMALL, trainer__checkpoint_minutes=1e-9)
    trainer = with_losses(small_trainer(tmp_path, config), lambda epoch, step: NAN if (epoch, step) == (2, 1) else 1.0)
    with pytest.raises(RunError, match=r"the loss is nan in epoch 2, step 1 \(learning rate 0\.005\)"):
        trainer.train()
    left = {path.name for path in tmp_path.glob("*.pth")}
    assert left == {"checkpoint-epoch1.pth", "checkpoint-epoch2-step1.pth"}, "nothing after the step before"
    assert all(all_finite(load_checkpoint(tmp_path / name)) for name in left)
    report = json.loads((tmp_path / REPORT_NAME).read_text())
    batches = trainer.loaders["train"].epoch(2, first_step=1)
    assert report["indices"] == next(batches).sample_ids[:, 1].tolist()
    assert report["repeat_with"].endswith("checkpoint-epoch2-step1.pth")


def test_the_command_in_the_report_arrives_at_the_same_step(tmp_path: Path) -> None:
    config = small_config(**SMALL)

    def broken(epoch: int, step: int) -> float:
        return INF if (epoch, step) == (2, 2) else 1.0

    with pytest.raises(RunError) as first:
        with_losses(small_trainer(tmp_path, config), broken).train()
    named = Path(json.loads((tmp_path / REPORT_NAME).read_text())["repeat_with"].split(" -r ")[1])
    with pytest.raises(RunError) as second:
        with_losses(small_trainer(tmp_path, config, resume=named), broken).train()
    assert str(first.value) == str(second.value)


def test_an_update_that_breaks_the_weights_in_an_epochs_last_step_reaches_no_checkpoint(tmp_path: Path) -> None:
    """The losses of all steps are finite; what the last step makes of the weights is not."""
    config = small_config(**SMALL)
    trainer = small_trainer(tmp_path, config)
    step_of, weight = trainer.train_step, next(trainer.method.network.parameters())

    def train_step(batches: Mapping[str, Batch], step: Step) -> None:
        step_of(batches, step)
        if step == Step(2, 2):
            weight.data[0, 0, 0, 0] = INF

    trainer.train_step = train_step  # type: ignore[method-assign]
    with pytest.raises(RunError, match="weights become infinite or nan in epoch 2, step 2 "):
        trainer.train()
    (left,) = tmp_path.glob("*.pth")
    assert left.name == "checkpoint-epoch1.pth"
    assert all_finite(load_checkpoint(left))


def test_a_run_that_skips_a_step_is_the_run_without_it(tmp_path: Path) -> None:
    """The weights after a skipped step are those before it, running statistics of BatchNorm included."""
    config = small_config(**SMALL, trainer__epochs=1, trainer__on_nonfinite="skip", trainer__checkpoint_minutes=1e-9)
    trainer = with_losses(small_trainer(tmp_path / "skips", config), lambda _, step: NAN if step == 2 else 1.0)
    trainer.train()
    content = load_checkpoint(tmp_path / "skips/checkpoint-epoch1.pth")
    assert content["progress"]["skipped_steps"] == 1
    assert all_finite(content)

    shorter = small_trainer(tmp_path / "shorter", config)
    batches = shorter.loaders["train"].epoch(1)
    shorter.method.network.train()
    for step in (0, 1):
        shorter.train_step({"train": next(batches)}, Step(1, step))
    weights = {"state_dict": shorter.method.network.state_dict()}
    shorter.recorder.close()
    assert same_weights(content, weights)
    assert content["progress"]["history"][0]["loss"] == pytest.approx(shorter.meters.means()["loss"], rel=1e-12)


def test_a_continued_run_remembers_what_it_has_skipped(tmp_path: Path) -> None:
    config = small_config(**SMALL, trainer__epochs=3, trainer__on_nonfinite="skip", trainer__max_skipped_steps=2)

    def broken(epoch: int, step: int) -> float:
        return NAN if step == 0 else 1.0

    with pytest.raises(RunError, match=r"epoch 3, step 0 .*after 3 skipped steps"):
        with_losses(small_trainer(tmp_path, config), broken).train()
    resume = tmp_path / "checkpoint-epoch2.pth"
    assert load_checkpoint(resume)["progress"]["skipped_steps"] == 2
    with pytest.raises(RunError, match=r"epoch 3, step 0 .*after 3 skipped steps"):
        with_losses(small_trainer(tmp_path, config, resume=resume), broken).train()


@pytest.mark.parametrize("action", ["stop", "skip"])
def test_the_guard_changes_nothing_about_a_sound_run(tmp_path: Path, action: str) -> None:
    plain = run(tmp_path / "plain", small_config(**SMALL))
    guarded = run(tmp_path / "guarded", small_config(**SMALL, trainer__on_nonfinite=action))
    assert same_weights(plain, guarded)
    assert plain["progress"] == guarded["progress"]
    assert not (tmp_path / "guarded" / REPORT_NAME).exists()
