"""fp16's loss scale: a step that overflows is left out, updates do not depend on it, a continued run takes it up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from base import Step
from tests.trainer.small_runs import TINY, run, small_config, small_trainer
from tests.trainer.stopped_runs import assert_same_runs, run_with_stops
from trainer.trainer import Trainer
from utils.files.checkpoint import load_checkpoint


def tiny_trainer(folder: Path, precision: str) -> Trainer:
    return small_trainer(folder, small_config(**TINY, trainer__precision=precision))


def scale_of(trainer: Trainer) -> float:
    return trainer.engine.precision.state_dict()["scale"]


@pytest.mark.usefixtures("_quick")
def test_a_step_whose_gradients_overflow_leaves_the_weights_and_halves_the_scale(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, "fp16")
    trainer.engine.precision.load_state_dict({**trainer.engine.precision.state_dict(), "scale": 2.0**40})
    before = {name: weight.clone() for name, weight in trainer.method.network.named_parameters()}
    batch = next(trainer.loaders["train"].epoch(1))
    trainer.train_step({"train": batch}, Step(1, 0))
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.method.network.named_parameters())
    assert not any(state for state in trainer.optimizer.state.values()), "momentum either"
    assert scale_of(trainer) == 2.0**39
    trainer.engine.precision.load_state_dict({**trainer.engine.precision.state_dict(), "scale": 2.0**8})
    trainer.train_step({"train": batch}, Step(1, 0))
    trainer.recorder.close()
    assert scale_of(trainer) == 2.0**8
    changed = [
        name for name, weight in trainer.method.network.named_parameters() if not torch.equal(weight, before[name])
    ]
    assert changed == list(before)


def first_update(folder: Path, precision: str, *, scale: float | None = None) -> Tensor:
    """What the first step adds to the weights, in one vector."""
    trainer = tiny_trainer(folder, precision)
    if scale is not None:
        trainer.engine.precision.load_state_dict({**trainer.engine.precision.state_dict(), "scale": scale})
    before = [weight.detach().clone() for weight in trainer.method.network.parameters()]
    trainer.train_step({"train": next(trainer.loaders["train"].epoch(1))}, Step(1, 0))
    trainer.recorder.close()
    return torch.cat(
        [(new - old).flatten() for new, old in zip(trainer.method.network.parameters(), before, strict=True)]
    ).detach()


@pytest.mark.usefixtures("_quick")
def test_an_update_in_half_precision_is_that_of_float32_but_for_rounding(tmp_path: Path) -> None:
    """Whatever fp16's scale: it is divided out again."""
    exact = first_update(tmp_path / "fp32", "fp32")
    bf16 = first_update(tmp_path / "bf16", "bf16")
    low, high = (first_update(tmp_path / str(scale), "fp16", scale=scale) for scale in (2.0**5, 2.0**10))
    assert 0 < (bf16 - exact).norm() < 0.25 * exact.norm()
    assert 0 < (low - exact).norm() < 0.08 * exact.norm()
    assert (low - high).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.usefixtures("_quick")
def test_a_run_stopped_after_any_step_and_continued_ends_with_the_same_bits(tmp_path: Path, precision: str) -> None:
    """fp16 begins with a scale that is too large, so that it changes within the run."""
    config = small_config(**TINY, trainer__precision=precision)
    whole = run(tmp_path / "whole", config)
    assert run_with_stops(tmp_path / "parts", config, {(0, 1, 0), (0, 3, 0), (1, 2, 0)}) == 4
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")
    if precision == "bf16":
        assert whole["precision"] == {}
    else:
        assert whole["precision"]["scale"] < 2.0**16
        assert whole["precision"]["_growth_tracker"] > 0


@pytest.mark.usefixtures("_quick")
def test_an_epoch_without_an_update_warns_of_nothing(tmp_path: Path) -> None:
    """One step, which overflows: nothing for the user to put in order."""
    config = small_config(**{**TINY, "data_loader__args__batch_size": 20}, trainer__precision="fp16")
    trainer = small_trainer(tmp_path, config)
    trainer.train()
    assert [line["lr"] for line in trainer.state.history] == pytest.approx([0.05, 0.005])


@pytest.mark.usefixtures("_quick")
def test_the_scale_in_the_checkpoint_is_taken_up(tmp_path: Path) -> None:
    """Else the test above would pass with a scale that never counts."""
    config = small_config(**TINY, trainer__precision="fp16")
    trainer = small_trainer(tmp_path, config)
    trainer.engine.precision.load_state_dict(
        {**trainer.engine.precision.state_dict(), "scale": 48.0, "_growth_tracker": 7}
    )
    path = trainer.save("checkpoint-epoch0-step0.pth")
    trainer.recorder.close()
    content = load_checkpoint(path)["precision"]
    assert (content["scale"], content["_growth_tracker"]) == (48.0, 7)
    continued = small_trainer(tmp_path, config, resume=path)
    continued.recorder.close()
    assert continued.engine.precision.state_dict() == content
    loss = torch.tensor(2.0, requires_grad=True)
    continued.engine.precision.backward(3 * loss)
    assert loss.grad == 3 * 48


@pytest.mark.parametrize(("old", "new"), [("fp16", "bf16"), ("fp16", "fp32"), ("bf16", "fp16"), ("tf32", "fp16")])
@pytest.mark.usefixtures("_quick")
def test_a_run_continued_in_another_precision_begins_with_a_fresh_scale(tmp_path: Path, old: str, new: str) -> None:
    trainer = tiny_trainer(tmp_path, old)
    if old == "fp16":
        state = trainer.engine.precision.state_dict()
        trainer.engine.precision.load_state_dict({**state, "scale": 48.0})
    path = trainer.save("checkpoint-epoch0-step0.pth")
    trainer.recorder.close()
    config = small_config(**TINY, trainer__precision=new)
    continued = small_trainer(tmp_path, config, resume=path)
    continued.recorder.close()
    state = continued.engine.precision.state_dict()
    assert state == ({} if new != "fp16" else torch.amp.GradScaler("cpu").state_dict())
