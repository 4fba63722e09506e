"""A run that is interrupted anywhere and continued ends where the uninterrupted one ends, to the last bit."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import socket
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from base import RunFolder
from benchmarks.crash_campaign import differences
from tests.scripts.command_line import Ended, Shell, the_run
from tests.trainer.small_runs import run, same_weights, small_config, small_trainer
from trainer.run_folders import WHERE_NOT_WHAT, read_resumed
from trainer.trainer import Trainer
from utils.config.parser import ConfigParser
from utils.distributed.context import DistributedContext
from utils.files.checkpoint import load_checkpoint
from utils.signals import RunStopped

Place = tuple[int, int, int]
"""Epochs completed, steps of the next, batches validated after them."""

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
STEPS, VALIDATION_BATCHES = 3, 17  # 78 and 500 images


def stop_at(trainer: Trainer, places: set[Place]) -> None:
    """Let a signal arrive at each of the places, once; those that are reached are taken out."""
    between_steps, validate = trainer.between_steps, trainer.validate
    validated = -1

    def stopping() -> None:
        nonlocal validated
        validated += validated >= 0
        place = (trainer.state.epoch, trainer.state.step, max(validated, 0))
        if place in places:
            places.remove(place)
            trainer.signals.received = signal.SIGTERM
        between_steps()

    def counting(epoch: int) -> dict[str, float]:
        nonlocal validated
        validated = 0
        try:
            return validate(epoch)
        finally:
            validated = -1

    trainer.between_steps, trainer.validate = stopping, counting  # type: ignore[method-assign]


def run_with_stops(folder: Path, config: Mapping[str, Any], places: set[Place]) -> int:
    """Train to the end, continuing after each stop from the newest checkpoint; returns how many processes it took."""
    resume, processes = None, 1
    while True:
        trainer = small_trainer(folder, config, resume=resume)
        stop_at(trainer, places)
        try:
            trainer.train()
        except RunStopped as stopped:
            resume = trainer.folder.checkpoints()[0]
            assert str(stopped).endswith(f"continue with: python train.py -r {resume}")
            processes += 1
        else:
            return processes
        finally:  # no reference to itself: the workers are to end here, not when the garbage is collected
            del trainer.between_steps, trainer.validate


def checkpoint_names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.pth")}


def assert_same_runs(one: Path, other: Path) -> None:
    """Every checkpoint that both runs leave: weights, optimiser, schedule, meters, history, best."""
    assert checkpoint_names(one) == checkpoint_names(other)
    for name in checkpoint_names(one):
        assert differences(load_checkpoint(one / name), load_checkpoint(other / name)) == [], name


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every curve that TensorBoard shows of a run: its points (epoch, value)."""
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.fixture
def _ordered_event_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard orders event files by second, host and process: here several are begun within a second."""
    begun: list[str] = []

    def host() -> str:
        begun.append(f"host{len(begun):03}")
        return begun[-1]

    monkeypatch.setattr(socket, "gethostname", host)


# -- in the middle of an epoch ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs with everything random that there is."""
    torch.set_num_threads(1)
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
    places = {(epoch, STEPS, batch) for epoch in (0, 1) for batch in (1, 5, VALIDATION_BATCHES)}
    assert run_with_stops(tmp_path, small_config(**STRONG), places) == 7
    assert_same_runs(tmp_path, uninterrupted)
    assert curves(tmp_path) == curves(uninterrupted)


@pytest.mark.parametrize("place", sorted(every_step())[::2])
def test_a_run_stopped_once_ends_as_the_uninterrupted_one(tmp_path: Path, uninterrupted: Path, place: Place) -> None:
    assert run_with_stops(tmp_path, small_config(**STRONG), {place}) == 2
    assert_same_runs(tmp_path, uninterrupted)


def test_what_the_network_draws_takes_part(tmp_path: Path, uninterrupted: Path) -> None:
    """Else the tests above say nothing about it: a step that is seeded otherwise ends elsewhere."""
    config = small_config(**STRONG)
    trainer = small_trainer(tmp_path, config)
    stop_at(trainer, {(0, 1, 0)})
    with pytest.raises(RunStopped):
        trainer.train()
    (stopped,) = trainer.folder.checkpoints()
    continued = small_trainer(tmp_path, {**config, "seed": 2}, resume=stopped)
    continued.train()
    other = load_checkpoint(tmp_path / "checkpoint-epoch2.pth")
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


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.usefixtures("_ordered_event_files")
def test_an_epoch_recorded_before_a_crash_is_in_the_curves_once(
    tmp_path: Path, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between an epoch's curves and its checkpoint, so the epoch is run again."""
    config = small_config(trainer__checkpoint_minutes=1e-9)
    trainer = small_trainer(tmp_path, config)
    save = trainer.save

    def dying(name: str) -> Path:
        if name == f"checkpoint-epoch{epoch}.pth":
            raise MemoryError
        return save(name)

    monkeypatch.setattr(trainer, "save", dying)
    with pytest.raises(MemoryError):
        trainer.train()
    assert [step for step, _ in curves(tmp_path)["lr"]] == [*range(1, epoch + 1)], "what is recorded is in the file"
    trainer = small_trainer(tmp_path, config, resume=trainer.folder.checkpoints()[0])
    trainer.train()
    assert {tag: [step for step, _ in points] for tag, points in curves(tmp_path).items()} == {
        tag: [1, 2] for tag in ("loss", "accuracy", "lr")
    }


# -- train.py -r ------------------------------------------------------------------------------------------------------

Train = Callable[..., Ended]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Train:
    """`train("-r", "auto")` runs the small configuration in an empty folder, one step an epoch."""
    config = small_config(
        trainer__epochs=2, trainer__save_dir="saved", trainer__verbosity=1, data_loader__args__batch_size=78
    )
    (tmp_path / "small.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    shell = Shell(monkeypatch, capsys)

    def start(*flags: object, config: str | None = "small.json") -> Ended:
        return shell("train.py", *(["-c", config] if config else []), *flags)

    return start


def trained(ended: Ended) -> list[int]:
    """The epochs that a process has worked on."""
    assert ended.code == 0, ended
    return [int(line.split()[1].partition("/")[0]) for line in ended.out.splitlines() if line.startswith("epoch ")]


def runs(save_dir: str = "saved", name: str = "small") -> list[Path]:
    return sorted((Path(save_dir) / "models" / name).iterdir())


def test_automatic_continuation_starts_a_run_where_there_is_none_and_finds_it_afterwards(train: Train) -> None:
    assert trained(train("-r", "auto")) == [1, 2]
    (Path(runs()[0]) / "checkpoint-epoch2.pth").unlink()
    ended = train("-r", "auto")
    assert trained(ended) == [2]
    assert f"Resuming from {runs()[0]}/checkpoint-epoch1.pth" in ended.out
    assert len(runs()) == 1


def test_a_finished_run_is_not_trained_again(train: Train) -> None:
    train()
    before = (runs()[0] / "checkpoint-epoch2.pth").stat().st_mtime_ns
    assert trained(train("-r", "auto")) == []
    assert trained(train("-r", runs()[0] / "checkpoint-epoch2.pth")) == []
    assert trained(train("-r", runs()[0] / "checkpoint-epoch2.pth", config=None)) == []
    assert len(runs()) == 1
    assert (runs()[0] / "checkpoint-epoch2.pth").stat().st_mtime_ns == before


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(train: Train) -> None:
    train()
    newest = runs()[0] / "checkpoint-epoch2.pth"
    whole = load_checkpoint(newest)
    newest.write_bytes(newest.read_bytes()[:-1000])
    ended = train("-r", "auto")
    assert trained(ended) == [2]
    assert f"{newest}: cut short or damaged" in ended.out
    assert "checkpoint-epoch1.pth" in ended.out
    assert differences(load_checkpoint(newest), whole) == [], "it is there again, as it was"


def test_a_run_that_died_before_its_first_checkpoint_is_taken_up(train: Train) -> None:
    train()
    whole = load_checkpoint(runs()[0] / "checkpoint-epoch2.pth")
    for path in runs()[0].glob("*.pth"):
        path.unlink()
    (runs()[0] / ".checkpoint-epoch1.pth.x1y2").write_bytes(b"half-written")
    ended = train("-r", "auto")
    assert trained(ended) == [1, 2]
    assert "starting it again" in ended.out
    assert len(runs()) == 1
    assert differences(load_checkpoint(runs()[0] / "checkpoint-epoch2.pth"), whole) == []
    assert not list(runs()[0].glob(".checkpoint*")), "what a killed process leaves half-written is removed"


def test_the_newest_run_of_the_same_configuration_is_continued(train: Train) -> None:
    train()
    train()
    train("--lr", "0.01")
    older, newer, other = runs()
    for path in (older, newer, other):
        (path / "checkpoint-epoch2.pth").unlink()
    assert trained(train("-r", "auto")) == [2]
    assert [("checkpoint-epoch2.pth" in checkpoint_names(path)) for path in runs()] == [False, True, False]


def test_processes_that_are_started_again_go_on_with_the_run_that_they_began(train: Train) -> None:
    """Not with a newer one of the same configuration; and if they had not begun one, as they were told to begin."""
    train()
    train()
    older, _ = runs()
    facts = json.loads((older / "run.json").read_text())
    facts["processes"][-1]["launch"] = "job 7"
    (older / "run.json").write_text(json.dumps(facts))
    config = ConfigParser.from_file(older / "config.json")
    path, content = read_resumed(config, DistributedContext(restarts=1, launch="job 7"))
    assert path is not None
    assert path.name == older.name
    assert content is not None
    assert content["progress"]["epoch"] == 2
    config.resume = None
    assert read_resumed(config, DistributedContext(restarts=1, launch="job 8")) == (None, None)


def test_processes_killed_before_their_first_checkpoint_begin_where_they_were_told_to(train: Train) -> None:
    """A run that went on from another's checkpoint in a folder of its own does so again, not from new weights."""
    train()
    (origin,) = runs()
    train("-r", origin / "checkpoint-epoch2.pth", "--epochs", 3)
    begun = next(path for path in runs() if path != origin)
    for checkpoint in begun.glob("*.pth"):
        checkpoint.unlink()
    facts = json.loads((begun / "run.json").read_text())
    facts["processes"][-1]["launch"] = "job 7"
    (begun / "run.json").write_text(json.dumps(facts))
    (origin / "run.json").write_text("damaged, and none of their business")
    told = origin / "checkpoint-epoch2.pth"
    config = ConfigParser.from_file(begun / "config.json", resume=told)
    path, content = read_resumed(config, DistributedContext(restarts=1, launch="job 7"))
    assert path is not None
    assert path.name == begun.name
    assert config.resume == told
    assert content is not None
    assert differences(content, load_checkpoint(told)) == []


@pytest.mark.parametrize("key", WHERE_NOT_WHAT)
def test_a_run_is_the_same_run_on_another_machine(train: Train, key: str) -> None:
    """`-r` with other GPUs or workers goes on in the run's own folder."""
    train()
    (begun,) = runs()
    (begun / "checkpoint-epoch2.pth").unlink()
    value = "none" if key == "trainer.parallel" else 3
    assert trained(train("-r", begun / "checkpoint-epoch1.pth", "--set", f"{key}={value}")) == [2]
    assert runs() == [begun]


def test_a_run_of_another_configuration_is_not_taken(train: Train) -> None:
    train()
    ended = train("-r", "auto", "--lr", "0.01")
    assert trained(ended) == [1, 2]
    assert "No run of this configuration" in ended.out
    assert len(runs()) == 2


def test_a_run_that_another_process_works_on_is_refused_in_one_line(train: Train) -> None:
    train()
    folder = RunFolder(runs()[0])
    with folder:
        assert folder.lock()
        for flags in (("-r", "auto"), ("-r", runs()[0] / "checkpoint-epoch1.pth")):
            ended = train(*flags)
            assert ended.code == 2
            assert ended.err == f"error: {runs()[0]}: another process is training in this folder\n"
    assert trained(train("-r", "auto")) == []


def test_an_explicit_checkpoint_is_continued_in_its_own_folder(train: Train) -> None:
    train()
    whole = load_checkpoint(runs()[0] / "checkpoint-epoch2.pth")
    ended = train("-r", runs()[0] / "checkpoint-epoch1.pth", config=None)
    assert trained(ended) == [2]
    assert len(runs()) == 1
    assert differences(load_checkpoint(runs()[0] / "checkpoint-epoch2.pth"), whole) == []


def test_more_epochs_are_a_new_run_that_goes_on_where_the_old_one_ended(train: Train) -> None:
    train()
    old = runs()[0]
    ended = train("-r", old / "checkpoint-epoch2.pth", "--epochs", "3", config=None)
    assert trained(ended) == [3]
    assert "this is a new run" in ended.out
    new = next(path for path in runs() if path != old)
    content = load_checkpoint(new / "checkpoint-epoch3.pth")
    assert [line["epoch"] for line in content["progress"]["history"]] == [1, 2, 3]
    assert checkpoint_names(old) == {"checkpoint-epoch1.pth", "checkpoint-epoch2.pth"}
    assert json.loads((new / "config.json").read_text())["trainer"]["epochs"] == 3
    train("--epochs", "3", "--name", "whole")
    whole = load_checkpoint(the_run(Path("saved"), "whole") / "checkpoint-epoch3.pth")
    assert same_weights(content, whole)
    assert differences(content["progress"], whole["progress"]) == []


def test_fewer_epochs_than_the_checkpoint_has_train_nothing_and_say_what_to_evaluate(train: Train) -> None:
    train()
    old = runs()[0] / "checkpoint-epoch2.pth"
    ended = train("-r", old, "--epochs", "1", config=None)
    assert trained(ended) == []
    assert f"test.py -r {old}" in ended.out


def test_weights_alone_begin_a_new_run(train: Train) -> None:
    train()
    old = runs()[0] / "checkpoint-epoch2.pth"
    ended = train("-r", old, "--set", "resume_state_dict_only=true", config=None)
    assert trained(ended) == [1, 2]
    assert len(runs()) == 2


@pytest.mark.parametrize("automatic", [False, True])
def test_a_run_that_began_from_weights_alone_is_continued_exactly(train: Train, automatic: bool) -> None:
    train()
    weights = ("--set", "resume_state_dict_only=true")
    train("-r", runs()[0] / "checkpoint-epoch2.pth", *weights)
    new = runs()[1]
    whole = load_checkpoint(new / "checkpoint-epoch2.pth")
    (new / "checkpoint-epoch2.pth").unlink()
    assert trained(train("-r", "auto" if automatic else new / "checkpoint-epoch1.pth", *weights)) == [2]
    assert len(runs()) == 2
    assert differences(load_checkpoint(new / "checkpoint-epoch2.pth"), whole) == []


@pytest.mark.parametrize(("keep", "left"), [(0, [1, 2, 3, 4]), (1, [4]), (2, [3, 4])])
def test_only_the_last_checkpoints_are_kept_where_that_is_asked_for(tmp_path: Path, keep: int, left: list[int]) -> None:
    config = small_config(trainer__epochs=4, trainer__keep_last=keep, data_loader__args__batch_size=78)
    trainer = small_trainer(tmp_path, config)
    trainer.folder.keep_last = keep
    trainer.train()
    assert checkpoint_names(tmp_path) == {f"checkpoint-epoch{epoch}.pth" for epoch in left}


def test_train_passes_on_how_many_checkpoints_to_keep(train: Train) -> None:
    train("--set", "trainer.keep_last=1")
    assert checkpoint_names(runs()[0]) == {"checkpoint-epoch2.pth"}


def test_a_damaged_newest_run_with_no_good_checkpoint_is_started_again_not_believed(
    train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    train()
    whole = load_checkpoint(runs()[0] / "checkpoint-epoch2.pth")
    for path in runs()[0].glob("*.pth"):
        path.write_bytes(path.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        assert trained(train("-r", "auto")) == [1, 2]
    assert differences(load_checkpoint(runs()[0] / "checkpoint-epoch2.pth"), whole) == []
