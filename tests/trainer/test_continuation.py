"""A run that is interrupted anywhere and continued ends where the uninterrupted one ends, to the last bit."""

from __future__ import annotations

import shlex
import shutil
import warnings
from pathlib import Path

import pytest

from benchmarks.crash_campaign import differences
from tests.trainer.small_runs import run, same_weights, small_config, small_trainer
from tests.trainer.stopped_runs import Place, assert_same_runs, checkpoint_names, curves, run_with_stops, stop_at
from utils.errors import UserError
from utils.files.checkpoint import load_checkpoint, save_checkpoint
from utils.signals import RunStopped

pytestmark = pytest.mark.usefixtures("_quick_throughout")

STRONG = {
    "arch__args__dropout": 0.3,
    "combiner__mode": "mixup_cutmix",
    "combiner__mixup__alpha": 0.6,
    "data_loader__args__batch_size": 30,
    "data_loader__args__randaugm": True,
    "data_loader__args__cutout": True,
    "loss__return_expert_losses": True,
    "trainer__validate": True,
    "trainer__monitor": "max val_accuracy",
    "metrics": ["accuracy", "top_k_acc"],
    "lr_scheduler__args__warmup_epoch": 2,
}
STEPS, VALIDATION_BATCHES = 3, 4  # 78 and 100 images


# -- in the middle of an epoch ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs with everything random that there is."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    run(folder, small_config(**STRONG))
    return folder


def every_step() -> set[Place]:
    return {(epoch, step, 0) for epoch in (0, 1) for step in range(1, STEPS + 1)}


def test_the_run_has_the_steps_that_the_tests_stop_at(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, small_config(**STRONG))
    assert (len(trainer.loaders["train"]), len(trainer.validation_loader)) == (STEPS, VALIDATION_BATCHES)
    trainer.recorder.close()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.usefixtures("_ordered_event_files")
def test_a_run_stopped_after_every_step_ends_as_the_uninterrupted_one(
    tmp_path: Path, uninterrupted: Path, workers: int
) -> None:
    """Mixing, AutoAugment, Cutout and dropout take part; the last step of an epoch is one of them."""
    config = small_config(**STRONG, data_loader__args__num_workers=workers)
    assert run_with_stops(tmp_path, config, every_step()) == 1 + len(every_step())
    if workers:  # the configurations differ by this, and are part of the checkpoints
        for name in checkpoint_names(uninterrupted):
            ours, theirs = load_checkpoint(tmp_path / name), load_checkpoint(uninterrupted / name)
            assert differences({**ours, "config": None}, {**theirs, "config": None}) == []
    else:
        assert_same_runs(tmp_path, uninterrupted)
    assert curves(tmp_path) == curves(uninterrupted)


@pytest.mark.usefixtures("_ordered_event_files")
def test_a_run_stopped_during_validation_ends_as_the_uninterrupted_one(tmp_path: Path, uninterrupted: Path) -> None:
    places = {(epoch, STEPS, batch) for epoch in (0, 1) for batch in (1, 3, VALIDATION_BATCHES)}
    assert run_with_stops(tmp_path, small_config(**STRONG), places) == 7
    assert_same_runs(tmp_path, uninterrupted)
    assert curves(tmp_path) == curves(uninterrupted)


@pytest.mark.parametrize("place", sorted(every_step())[::2])
def test_a_run_stopped_once_ends_as_the_uninterrupted_one(tmp_path: Path, uninterrupted: Path, place: Place) -> None:
    assert run_with_stops(tmp_path, small_config(**STRONG), {place}) == 2
    assert_same_runs(tmp_path, uninterrupted)


def test_what_the_network_draws_takes_part(tmp_path: Path, uninterrupted: Path) -> None:
    """Else the tests above say nothing about it: an epoch that is seeded otherwise ends elsewhere."""
    config = small_config(**STRONG, seed=2)
    other = run(tmp_path, config, resume=uninterrupted / "checkpoint-epoch1.pth")
    assert not same_weights(other, load_checkpoint(uninterrupted / "checkpoint-epoch2.pth"))


def test_a_checkpoint_by_the_clock_is_as_good_as_one_by_a_signal(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each step one is due; what lies in the folder after step 2 of epoch 2 is continued elsewhere."""
    config = small_config(**STRONG, trainer__checkpoint_minutes=1e-9)
    trainer = small_trainer(tmp_path / "first", config)
    save, kept = trainer.save, tmp_path / "second"

    def saving(name: str) -> Path:
        path = save(name)
        if name == "checkpoint-epoch2-step2.pth":
            shutil.copytree(tmp_path / "first", kept)
        return path

    monkeypatch.setattr(trainer, "save", saving)
    trainer.train()
    run(kept, config, resume=kept / "checkpoint-epoch2-step2.pth")
    for folder in (tmp_path / "first", kept):
        for name in checkpoint_names(uninterrupted):
            ours, theirs = load_checkpoint(folder / name), load_checkpoint(uninterrupted / name)
            assert differences({**ours, "config": None}, {**theirs, "config": None}) == [], name


def test_two_step_checkpoints_are_kept_and_none_once_the_epoch_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = small_trainer(tmp_path, small_config(trainer__checkpoint_minutes=1e-9))
    present: dict[str, set[str]] = {}
    save = trainer.save

    def saving(name: str) -> Path:
        path = save(name)
        present[name] = checkpoint_names(tmp_path)
        return path

    monkeypatch.setattr(trainer, "save", saving)
    trainer.train()
    assert present["checkpoint-epoch2-step3.pth"] == {
        "checkpoint-epoch1.pth",
        "checkpoint-epoch2-step2.pth",
        "checkpoint-epoch2-step3.pth",
    }
    assert present["checkpoint-epoch1.pth"] == {"checkpoint-epoch1.pth"}
    assert checkpoint_names(tmp_path) == {"checkpoint-epoch1.pth", "checkpoint-epoch2.pth"}


def test_going_on_after_an_epochs_last_step_warns_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_with_stops(tmp_path, small_config(), {(0, STEPS, 0)})


# -- curves -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_ordered_event_files")
def test_the_learning_rate_of_a_run_continued_five_times_is_that_of_an_uninterrupted_one(tmp_path: Path) -> None:
    config = small_config(
        trainer__epochs=6,
        data_loader__args__batch_size=41,  # two steps an epoch
        lr_scheduler__args={"step1": 3, "step2": 5, "gamma": 0.1, "warmup_epoch": 2},
        loss__return_expert_losses=True,
    )
    run(tmp_path / "whole", config)
    places = {(0, 1, 0), (1, 2, 0), (3, 1, 0), (4, 2, 0), (5, 1, 0)}
    assert run_with_stops(tmp_path / "parts", config, places) == 6
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")
    # base rate 0.05; epochs from 0: warm-up (e+1)/2 while e < 2, ×0.1 from epoch 3, ×0.01 from epoch 5
    expected = [0.025, 0.05, 0.05, 0.005, 0.005, 0.0005]
    history = load_checkpoint(tmp_path / "parts/checkpoint-epoch6.pth")["progress"]["history"]
    assert [line["lr"] for line in history] == pytest.approx(expected, rel=1e-12)
    shown = curves(tmp_path / "parts")
    assert [epoch for epoch, _ in shown["lr"]] == [1, 2, 3, 4, 5, 6]
    assert [rate for _, rate in shown["lr"]] == pytest.approx(expected, rel=1e-6)
    assert shown == curves(tmp_path / "whole")


@pytest.mark.usefixtures("_ordered_event_files")
def test_an_epoch_that_is_run_again_is_in_the_curves_once(tmp_path: Path) -> None:
    """Its curves were written, but its checkpoint is lost."""
    config = small_config()
    run(tmp_path, config)
    (tmp_path / "checkpoint-epoch2.pth").unlink()
    run(tmp_path, config, resume=tmp_path / "checkpoint-epoch1.pth")
    assert {tag: [step for step, _ in points] for tag, points in curves(tmp_path).items()} == {
        tag: [1, 2] for tag in ("loss", "accuracy", "lr")
    }


def test_the_command_to_continue_with_is_quoted_for_the_shell(tmp_path: Path) -> None:
    folder = tmp_path / "it's a run"
    trainer = small_trainer(folder, small_config())
    stop_at(trainer, {(0, 1, 0)})
    with pytest.raises(RunStopped) as stopped:
        trainer.train()
    command = str(stopped.value).partition("continue with: ")[2]
    assert shlex.split(command) == ["python", "train.py", "-r", str(trainer.folder.checkpoints()[0])]


# -- weights of other names -------------------------------------------------------------------------------------------


def test_weights_whose_names_begin_with_module_go_on_as_any_others(tmp_path: Path) -> None:
    config = small_config(trainer__epochs=2)
    end = run(tmp_path / "run", config)
    first = tmp_path / "run/checkpoint-epoch1.pth"
    content = load_checkpoint(first)
    content["state_dict"] = {f"module.{name}": value for name, value in content["state_dict"].items()}
    save_checkpoint(first, content)
    assert same_weights(run(tmp_path / "run", config, resume=first), end)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    config = small_config(trainer__epochs=2)
    run(tmp_path / "run", config)
    first = tmp_path / "run/checkpoint-epoch1.pth"
    content = load_checkpoint(first)
    content["state_dict"]["backbone.other"] = content["state_dict"].pop("backbone.conv1.weight")
    save_checkpoint(first, content)
    with pytest.raises(UserError, match=r"missing backbone\.conv1\.weight; unknown backbone\.other"):
        small_trainer(tmp_path / "run", config, resume=first)
