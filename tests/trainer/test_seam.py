"""A method of a new kind is a class: no file of the loop knows of it, and yet it is stopped, continued and shared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import trainer.build
from base import Batch, Step
from model.experts import ExpertModel
from tests.ranks import in_processes
from tests.trainer.normfree import without_batchnorm
from tests.trainer.small_runs import make_quick, run, same_weights, small_config, small_trainer
from tests.trainer.stopped_runs import assert_same_runs, run_with_stops
from tests.trainer.toy_methods import register
from trainer.config.run_config import RunConfig, run_config
from utils.config.parser import ConfigParser
from utils.distributed.context import DistributedContext
from utils.errors import ConfigError
from utils.files.checkpoint import load_checkpoint

# 78 images: batches of 30, 30 and 18
SMALL = {"data_loader__args__batch_size": 30}
# 100 images: batches of 60 and 40, so that each epoch of the others begins within one of these, and is cut otherwise
UNLABELLED = {
    "type": "ImbalanceDigitsDataLoader",
    "args": {"batch_size": 60, "num_workers": 0, "imb_factor": 1.0, "max_per_class": 10},
}
FIXMATCH = {**SMALL, "loaders": {"unlabelled": UNLABELLED}}
STOPS = {(0, 1, 0), (0, 3, 0), (1, 2, 0)}


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


def fixmatch(threshold: float = 0.8) -> dict[str, Any]:
    return {"type": "FixMatch", "args": {"threshold": threshold}}


# -- in several processes ---------------------------------------------------------------------------------------------


def exact(config: RunConfig, device: torch.device) -> ExpertModel:
    """A network without BatchNorm in float64: what remains between two ways to cut a batch is no rounding."""
    network = without_batchnorm(trainer.build.built_model(config, device)).double()
    network.register_forward_pre_hook(lambda _, given: (given[0].double(), *given[1:]))
    return network


def gradients(
    distributed: DistributedContext, folder: Path, config: Mapping[str, Any]
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """The gradients of each step of an epoch; what of the method is not the network's, before and after."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        make_quick(monkeypatch)
        register(monkeypatch)
        monkeypatch.setattr(trainer.build, "built_model", trainer.build.build_model, raising=False)
        monkeypatch.setattr(trainer.build, "build_model", exact)
        runner = small_trainer(folder, config, distributed=distributed)
        method, step_of = runner.method, runner.train_step
        others = {f"{name} before": value.clone() for name, value in others_of(method).items()}
        found: list[dict[str, Tensor]] = []

        def train_step(batches: Mapping[str, Batch], step: Step) -> None:
            step_of(batches, step)
            found.append({name: weight.grad.clone() for name, weight in method.network.named_parameters()})

        monkeypatch.setattr(runner, "train_step", train_step)
        runner.train()
        return found, others | others_of(method)


def others_of(method: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in method.state_dict().items() if not name.startswith("network.")}


@pytest.mark.parametrize(
    ("size", "changes"),
    [
        (2, {"method": {"type": "Distilled"}}),
        (2, {"method": fixmatch(), **FIXMATCH, "trainer__accumulate_steps": 3}),
        # the last labelled batch has two images, one group: two processes have unlabelled images alone
        (3, {"method": fixmatch(), **FIXMATCH, "data_loader__args__batch_size": 38}),
    ],
    ids=["a teacher", "two streams", "a stream alone"],
)
def test_processes_have_the_gradients_of_one(tmp_path: Path, size: int, changes: dict[str, Any]) -> None:
    config = small_config(**SMALL | {"trainer__epochs": 1} | changes)
    alone, others = gradients(DistributedContext(), tmp_path / "alone", config)
    together = in_processes(gradients, size, tmp_path / "together", config)
    assert len(alone) == 3
    for steps, theirs in together:
        torch.testing.assert_close(steps, alone, rtol=0, atol=1e-9)
        torch.testing.assert_close(theirs, others, rtol=0, atol=0)
    kept = [name for name in others if name.startswith("teacher.") and not name.endswith(" before")]
    assert bool(kept) == (changes["method"]["type"] == "Distilled")
    assert all(torch.equal(others[name], others[f"{name} before"]) for name in kept)


def freeze_in_epoch_2(distributed: DistributedContext, folder: Path) -> list[dict[str, Tensor]]:
    """The network's weights after each epoch."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        make_quick(monkeypatch)
        register(monkeypatch)
        config = small_config(**SMALL, method={"type": "FreezesTrunk"}, trainer__epochs=3)
        runner = small_trainer(folder, config, distributed=distributed)
        epoch_of, states = runner.run_epoch, []

        def run_epoch(epoch: int) -> dict[str, float]:
            log = epoch_of(epoch)
            states.append({name: value.clone() for name, value in runner.method.network.state_dict().items()})
            return log

        monkeypatch.setattr(runner, "run_epoch", run_epoch)
        runner.train()
        return states


def test_a_method_may_freeze_weights_between_epochs(tmp_path: Path) -> None:
    """The processes wait for no gradient that does not come; BatchNorm's statistics stay, too."""
    main, other = in_processes(freeze_in_epoch_2, 2, tmp_path)
    first, second, third = main
    for name in first:
        stays = not name.startswith("backbone.linear")
        assert torch.equal(first[name], second[name]) == torch.equal(second[name], third[name]) == stays, name
    assert all(torch.equal(value, other[-1][name]) for name, value in third.items())


def predicted_prior(distributed: DistributedContext, folder: Path, config: Mapping[str, Any]) -> Tensor:
    with pytest.MonkeyPatch.context() as monkeypatch:
        make_quick(monkeypatch)
        register(monkeypatch)
        monkeypatch.setattr(trainer.build, "built_model", trainer.build.build_model, raising=False)
        monkeypatch.setattr(trainer.build, "build_model", exact)
        runner = small_trainer(folder, config, distributed=distributed)
        runner.train()
        return others_of(runner.method)["running.prior"]


def test_a_methods_own_state_is_the_same_in_all_processes_and_that_of_one(tmp_path: Path) -> None:
    config = small_config(**SMALL, method={"type": "AdjustsByPredictions"}, trainer__epochs=1)
    alone = predicted_prior(DistributedContext(), tmp_path / "alone", config)
    main, other = in_processes(predicted_prior, 2, tmp_path / "together", config)
    assert torch.equal(main, other)
    torch.testing.assert_close(main, alone, rtol=0, atol=1e-9)
    assert float(alone.sum()) == pytest.approx(1)
    assert float((alone - 0.1).abs().max()) > 1e-3, "it has moved from where it began"


# -- stopped and continued --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"method": fixmatch(), **FIXMATCH}, "state_dict"),
        ({"method": {"type": "Distilled"}}, "teacher"),
        ({"method": {"type": "AdjustsByPredictions"}}, "running_prior"),
        ({"method": {"type": "FreezesTrunk"}}, "state_dict"),
        (
            {
                **{"method": {"type": "EMA", "args": {"method": fixmatch()}}, "update_rule": {"type": "SAM"}},
                **{**FIXMATCH, "trainer__validate": True},
            },
            "averaged_state_dict",
        ),
    ],
    ids=["FixMatch", "teacher", "running prior", "freezing", "EMA of FixMatch by SAM"],
)
@pytest.mark.usefixtures("_quick")
def test_a_run_stopped_within_epochs_ends_with_the_same_bits(
    tmp_path: Path, changes: dict[str, Any], part: str
) -> None:
    config = small_config(**SMALL | changes)
    whole = run(tmp_path / "whole", config)
    assert run_with_stops(tmp_path / "parts", config, set(STOPS)) == 1 + len(STOPS)
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")
    assert part in whole


@pytest.mark.usefixtures("_quick")
def test_unlabelled_images_take_part_where_the_network_is_sure(tmp_path: Path) -> None:
    slow = {"optimizer__args__lr": 0.002, "lr_scheduler__args__step1": 9, "lr_scheduler__args__step2": 9}
    changes = {**FIXMATCH, **slow, "trainer__epochs": 4}
    some = run(tmp_path / "some", small_config(**changes, method=fixmatch()))
    none = run(tmp_path / "none", small_config(**changes, method=fixmatch(1.0)))
    sure = [line["sure"] for line in some["progress"]["history"]]
    assert all(0 <= share < 1 for share in sure)
    assert max(sure) > 0
    assert all(line["sure"] == 0 for line in none["progress"]["history"])
    assert not same_weights(some, none)
    losses = [line["loss"] for line in some["progress"]["history"]]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.usefixtures("_quick")
def test_wrapped_methods_and_update_rules_compose(tmp_path: Path) -> None:
    """Each of the three makes a difference."""
    ema = {"type": "EMA", "args": {"method": fixmatch(), "decay": 0.5}}
    config = small_config(**FIXMATCH, method=ema, update_rule={"type": "SAM"}, trainer__validate=True)
    all_three = run(tmp_path / "all", config)
    by_sam = run(tmp_path / "by SAM", {**config, "method": fixmatch()})
    by_descent = run(tmp_path / "by descent", {**config, "update_rule": {"type": "Descent"}})
    assert same_weights(all_three, by_sam), "the average does not change what is trained"
    assert not same_weights(all_three, by_descent)
    averaged = {"state_dict": all_three["averaged_state_dict"]}
    assert not same_weights(all_three, averaged)
    assert all_three["progress"]["history"][-1].keys() >= {"sure", "val_accuracy", "val_averaged_accuracy"}


@pytest.mark.usefixtures("_quick")
def test_an_objective_that_changes_at_an_epoch_changes_nothing_before(tmp_path: Path) -> None:
    changes = {**SMALL, "loss": {"type": "CrossEntropyLoss"}, "combiner__mode": "default", "trainer__epochs": 4}
    plain = run(tmp_path / "plain", small_config(**changes))["progress"]["history"]
    config = small_config(**changes, method={"type": "DeferredReweighting"})
    deferred = run(tmp_path / "deferred", config)["progress"]["history"]
    assert [ours == theirs for ours, theirs in zip(deferred, plain, strict=True)] == [True, True, False, False]
    assert run_with_stops(tmp_path / "parts", config, {(2, 1, 0), (3, 2, 0)}) == 3
    assert load_checkpoint(tmp_path / "parts/checkpoint-epoch4.pth")["progress"]["history"] == deferred


def test_statistics_are_taken_anew_from_images_as_the_method_sees_them(tmp_path: Path) -> None:
    """The loader's workers prepare them for no other view."""
    swa = {"type": "SWA", "args": {"method": {"type": "SeesStrongViews"}, "start": 0}}
    content = run(tmp_path, small_config(**SMALL, method=swa, trainer__epochs=1))
    statistics = [value for name, value in content["averaged_state_dict"].items() if name.endswith("running_var")]
    assert statistics
    assert all(bool((value != 1).all()) for value in statistics)


def test_a_skipped_step_leaves_no_trace_in_a_methods_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(**SMALL, method={"type": "AdjustsByPredictions"}, trainer__on_nonfinite="skip")
    priors = []
    for name, steps in (("skips", (0, 1, 2)), ("without", (0, 2))):
        runner = small_trainer(tmp_path / name, config)
        runner.method.start_epoch(1)
        for index in steps:
            batch = next(runner.loaders["train"].epoch(1, first_step=index))
            with monkeypatch.context() as patch:
                if index == 1:
                    patch.setattr(F, "cross_entropy", lambda logits, targets: logits.sum() * torch.nan)
                runner.train_step({"train": batch}, Step(1, index))
        runner.recorder.close()
        priors.append(runner.method.running.prior)
        assert runner.state.skipped_steps == (len(steps) == 3)
    assert torch.equal(*priors)


# -- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loaders", "line"),
    [
        ({}, "loaders.unlabelled: is missing: FixMatch takes batches of data_loader and unlabelled"),
        (
            {"unlabeled": UNLABELLED},
            "loaders.unlabeled: is not used: FixMatch takes batches of data_loader and unlabelled; "
            "did you mean 'unlabelled'?",
        ),
        (
            {"unlabelled": UNLABELLED, "test": UNLABELLED},
            "loaders.test: is not used: FixMatch takes batches of data_loader and unlabelled",
        ),
    ],
    ids=["none", "misspelt", "one too many"],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_loaders_that_the_method_does_not_take_are_one_line(loaders: dict[str, Any], line: str, wrapped: bool) -> None:
    method = {"type": "EMA", "args": {"method": fixmatch()}} if wrapped else fixmatch()
    parser = ConfigParser(small_config(method=method, loaders=loaders), source="small.json")
    with pytest.raises(ConfigError) as caught:
        run_config(parser)
    assert str(caught.value) == f"{line} (in small.json)"


def test_a_methods_own_argument_is_checked_beside_those_of_the_class_it_extends() -> None:
    parser = ConfigParser(small_config(**FIXMATCH, method=fixmatch(threshold=2)), source="small.json")
    with pytest.raises(ConfigError, match=r"^method\.args\.threshold: .*2"):
        run_config(parser)
