"""`train.py -r`: which run is continued, where, from which checkpoint, and what is left in its folder."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from base import RunFolder
from benchmarks.crash_campaign import differences
from tests.scripts.command_line import the_run
from tests.trainer.small_runs import same_weights, small_config, small_trainer, with_changes
from tests.trainer.stopped_runs import checkpoint_names
from tests.trainer.train_commands import Train, runs, trained
from trainer.continuation import WHERE_NOT_WHAT
from trainer.run_folders import read_resumed
from utils.config.parser import ConfigParser
from utils.distributed.context import DistributedContext
from utils.files.checkpoint import load_checkpoint

pytestmark = pytest.mark.usefixtures("_quick")


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
    assert "restarting that run" in ended.out
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
    """`-r` with other GPUs or workers, or with a report, goes on in the run's own folder."""
    train()
    (begun,) = runs()
    (begun / "checkpoint-epoch2.pth").unlink()
    value = {"trainer.parallel": "none", "trainer.report": "true"}.get(key, 3)
    assert trained(train("-r", begun / "checkpoint-epoch1.pth", "--set", f"{key}={value}")) == [2]
    assert runs() == [begun]


def test_a_run_of_another_configuration_is_not_taken(train: Train) -> None:
    train()
    ended = train("-r", "auto", "--lr", "0.01")
    assert trained(ended) == [1, 2]
    assert "No earlier run of this configuration" in ended.out
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
    assert "starting a new run from it" in ended.out
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


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 3),
        ("optimizer.args.lr", 0.5),
        ("loss.args.tau_list", [0, 1]),
        ("lr_scheduler", {"type": "StepLR", "args": {"step_size": 1}}),
    ],
)
def test_a_configuration_edited_beside_its_checkpoint_begins_a_new_run_and_is_told_key_by_key(
    train: Train, path: str, value: object
) -> None:
    """The old run stays what it was, and `-r auto` does not take it for one of the edited configuration."""
    train()
    (begun,) = runs()
    before = load_checkpoint(begun / "checkpoint-epoch2.pth")
    edited = with_changes(json.loads((begun / "config.json").read_text()), {path: value})
    (begun / "config.json").write_text(json.dumps(edited))
    ended = train("-r", begun / "checkpoint-epoch1.pth", config=None)
    assert trained(ended) == [2]
    assert "The configuration differs from that of" in ended.out
    assert f"  {path}" in ended.out
    assert len(runs()) == 2
    assert differences(load_checkpoint(begun / "checkpoint-epoch2.pth"), before) == []

    Path("edited.json").write_text(json.dumps(edited))
    for checkpoint in runs()[1].glob("*.pth"):
        checkpoint.unlink()
    runs()[1].rename("elsewhere")
    automatic = train("-r", "auto", config="edited.json")
    assert trained(automatic) == [1, 2]
    assert "is of another configuration than the one beside it: passed over." in automatic.out
