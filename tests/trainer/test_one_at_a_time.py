"""A run that is started again while its first process still lives: it waits, and trains nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import BaseFileLock

from tests.trainer.small_runs import small_config
from tests.trainer.train_commands import Train, runs, trained
from trainer import one_at_a_time
from trainer.one_at_a_time import lock_of
from utils.config.parser import ConfigParser
from utils.files.locks import take_lock

pytestmark = pytest.mark.usefixtures("_quick")


def held_by_another() -> BaseFileLock:
    """The lock of the run that `train` trains, as if a process of its own had it."""
    lock = take_lock(lock_of(ConfigParser.from_file(Path("small.json"))))
    assert lock is not None
    return lock


def test_it_goes_on_from_what_the_first_process_writes_before_it_ends(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    train()
    newest = runs()[0] / "checkpoint-epoch2.pth"
    aside = newest.rename("aside")  # the first process is in its second epoch
    first = held_by_another()

    def take(path: Path, *, patience: float = 0.0) -> BaseFileLock | None:
        if patience:
            aside.rename(newest)
            first.release()
        return take_lock(path, patience=patience)

    monkeypatch.setattr(one_at_a_time, "take_lock", take)
    ended = train("-r", "auto")
    assert trained(ended) == []
    assert "another process is training this run; waiting for it to end" in ended.out
    assert f"Resuming from {newest}" in ended.out


def test_it_gives_up_on_a_process_that_does_not_end(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    train()
    monkeypatch.setattr(one_at_a_time, "_PATIENCE", 0.01)
    with held_by_another():
        ended = train("-r", "auto")
    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith("error: saved/models/small: another process has been training this")
    assert trained(train("-r", "auto")) == []


def test_runs_of_other_configurations_do_not_wait_for_one_another(train: Train) -> None:
    train()
    with held_by_another():
        assert trained(train("-r", "auto", "--lr", 0.01)) == [1, 2]


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"n_gpu": 4, "data_loader__args__num_workers": 3}, True),
        ({"optimizer__args__weight_decay": 0.0, "seed": 1}, True),
        ({"optimizer__args__weight_decay": 0}, True),
        ({"seed": 2}, False),
    ],
)
def test_what_is_trained_decides_which_lock_it_is_and_not_where(changes: dict[str, float], same: bool) -> None:
    one = ConfigParser(small_config(optimizer__args__weight_decay=0, seed=1), source="a test")
    other = ConfigParser(
        small_config(**{"optimizer__args__weight_decay": 0, "seed": 1, **changes}),
        source="a test",
    )
    assert (lock_of(one) == lock_of(other)) == same
