"""Curves and figures: what TensorBoard and Weights & Biases are given."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from benchmarks.crash_campaign import differences
from tests.trainer.small_runs import run, small_config, small_trainer
from trainer.trainer import Trainer
from utils.errors import UserError
from utils.reporting.plots import confusion_figure
from utils.reporting.tensorboard import Recorder

pytestmark = pytest.mark.usefixtures("_quick_throughout", "pictures")


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()


def test_tensorboard_has_every_quantity_of_every_epoch(tmp_path: Path) -> None:
    config = small_config(trainer__validate=True, loss__return_expert_losses=True)
    content = run(tmp_path, config)
    found = events(tmp_path)
    tags = {"loss", "loss_e_0", "loss_e_1", "accuracy", "lr", "val_loss", "val_accuracy", "val_balanced_accuracy"}
    drawn = {"groups/medium", "groups/few", "calibration/ece"}  # no class has more than 100 images
    assert set(found.Tags()["scalars"]) == tags | drawn
    for tag in drawn:
        assert [event.step for event in found.Scalars(tag)] == [1, 2]
    history = content["progress"]["history"]
    for tag in tags:
        assert [event.step for event in found.Scalars(tag)] == [1, 2]
        assert [event.value for event in found.Scalars(tag)] == pytest.approx([line[tag] for line in history], rel=1e-6)


def test_tensorboard_has_the_settings_and_which_scores_runs_are_compared_by(tmp_path: Path) -> None:
    run(tmp_path, small_config(trainer__epochs=1, optimizer__args__lr=0.03))
    metadata = events(tmp_path).summary_metadata
    experiment, start = (
        plugin_data_pb2.HParamsPluginData.FromString(metadata[f"_hparams_/{name}"].plugin_data.content)
        for name in ("experiment", "session_start_info")
    )
    settings = start.session_start_info.hparams
    assert settings["optimizer.args.lr"].number_value == 0.03
    assert settings["arch.type"].string_value == "ResNet32Model"
    assert settings["loss.args.tau_list"].string_value == "[0, 2]"
    assert {metric.name.tag for metric in experiment.experiment.metric_infos} == {"loss", "accuracy", "lr"}


def test_the_confusion_matrix_is_recorded_with_the_checkpoints(tmp_path: Path) -> None:
    run(tmp_path, small_config(trainer__validate=True, trainer__epochs=3, trainer__save_period=2))
    found = events(tmp_path)
    assert found.Tags()["images"] == ["confusion_matrix"]
    assert [event.step for event in found.Images("confusion_matrix")] == [2, 3]


@pytest.mark.usefixtures("_ordered_event_files")
def test_a_continued_run_goes_on_with_the_same_curves(tmp_path: Path) -> None:
    run(tmp_path, small_config(trainer__epochs=1))
    run(tmp_path, small_config(trainer__epochs=2), resume=tmp_path / "checkpoint-epoch1.pth")
    assert [event.step for event in events(tmp_path).Scalars("loss")] == [1, 2]


# -- figures ----------------------------------------------------------------------------------------------------------


def test_the_recorded_figure_is_of_fractions_of_each_true_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[np.ndarray] = []

    def remember(confusion: Callable[[], np.ndarray], class_names: list[str]) -> Any:
        given.append(confusion())
        return confusion_figure(confusion, class_names)

    monkeypatch.setattr("trainer.trainer.confusion_figure", remember)
    trainer: Trainer = small_trainer(tmp_path, small_config(trainer__validate=True, trainer__epochs=1))
    trainer.train()
    (confusion,) = given
    np.testing.assert_allclose(confusion.sum(axis=1), np.ones(10))  # 50 test images of each class
    assert trainer.state.history[0]["val_balanced_accuracy"] == pytest.approx(np.trace(confusion) / 10)


# -- failures ---------------------------------------------------------------------------------------------------------


def fail(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("no such luck\nat all")


def test_checkpoints_are_written_before_anything_is_drawn_or_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = small_trainer(tmp_path, small_config(trainer__validate=True, trainer__monitor="max val_accuracy"))
    written: list[tuple[str, set[str]]] = []

    def note(kind: str) -> Callable[..., None]:
        return lambda *_: written.append((kind, {path.name for path in tmp_path.glob("*.pth")}))

    monkeypatch.setattr(trainer.recorder, "scalars", note("scalars"))
    monkeypatch.setattr(trainer.recorder, "figure", note("figure"))
    trainer.train()
    first = {"model_best.pth", "checkpoint-epoch1.pth"}
    both = first | {"checkpoint-epoch2.pth"}
    assert written == [("scalars", first), ("figure", first), ("scalars", both), ("figure", both)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, _quick_throughout: None) -> dict[str, Any]:
    """What a run that records everything ends with."""
    return run(tmp_path_factory.mktemp("undisturbed"), small_config(trainer__validate=True))


@pytest.mark.parametrize(
    "place",
    [
        "torch.utils.tensorboard.SummaryWriter",
        "torch.utils.tensorboard.SummaryWriter.add_scalar",
        "torch.utils.tensorboard.SummaryWriter.add_figure",
        "torch.utils.tensorboard.SummaryWriter.close",
        "trainer.trainer.confusion_figure",
        "trainer.trainer.confusion_matrix",
    ],
)
def test_no_failure_of_a_curve_or_a_picture_costs_a_checkpoint(
    tmp_path: Path,
    place: str,
    undisturbed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(place, fail)
    assert differences(run(tmp_path, small_config(trainer__validate=True)), undisturbed) == []
    (told,) = [line for line in caplog.messages if "no such luck" in line]
    assert told.startswith("warning: ")
    assert told.endswith("no such luck")


# -- Weights & Biases -------------------------------------------------------------------------------------------------


class FakeRun:
    """What `wandb.init` returns."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("wandb")
    module.runs = []
    module.arguments = []

    def init(**arguments: Any) -> FakeRun:
        module.arguments.append(arguments)
        module.runs.append(FakeRun())
        return module.runs[-1]

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_wandb_is_given_the_configuration_every_epoch_and_the_end(tmp_path: Path, wandb: types.ModuleType) -> None:
    config = small_config(trainer__wandb=True)
    content = run(tmp_path / "20260101_000000", config)
    (arguments,), (sent,) = wandb.arguments, wandb.runs
    assert arguments["config"] == config
    assert arguments["dir"] == str(tmp_path / "20260101_000000")
    assert [step for step, _ in sent.logged] == [1, 2]
    history = content["progress"]["history"]
    assert [{"epoch": float(step), **values} for step, values in sent.logged] == history
    assert sent.finished == 1


def test_wandb_is_left_alone_unless_it_is_asked_for(tmp_path: Path, wandb: types.ModuleType) -> None:
    run(tmp_path, small_config())
    assert wandb.runs == []


def test_where_it_fails_in_training_that_is_a_warning_and_at_the_start_an_error(
    tmp_path: Path, wandb: types.ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(FakeRun, "log", fail)
    content = run(tmp_path, small_config(trainer__wandb=True))
    assert content["progress"]["epoch"] == 2
    assert [line for line in caplog.messages if "Weights" in line] == [
        "warning: Weights & Biases is told no more, it fails: no such luck"
    ]
    monkeypatch.setattr(wandb, "init", fail)
    with pytest.raises(UserError, match=r"--use-wandb: Weights & Biases can't be started: no such luck$"):
        Recorder(tmp_path, wandb=True)


def test_without_the_package_wandb_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="wandb is not installed"):
        Recorder(tmp_path, wandb=True)
    assert list(tmp_path.iterdir()) == []
