"""Names of checkpoints: what they say, and which files bear none."""

from __future__ import annotations

from pathlib import Path

import pytest

from utils.files.checkpoint_names import checkpoint_name, checkpoint_position, checkpoints_of

NAMES = [
    (1, 0, "checkpoint-epoch1.pth"),
    (0, 7, "checkpoint-epoch1-step7.pth"),  # seven steps into the first epoch
    (3, 40, "checkpoint-epoch4-step40.pth"),
    (200, 0, "checkpoint-epoch200.pth"),
]
OTHERS = ["model_best.pth", "checkpoint-epochX.pth", "checkpoint-epoch3.pth.old", "checkpoint-epoch3.txt", ""]


@pytest.mark.parametrize(("epoch", "step", "name"), NAMES)
def test_a_checkpoint_is_named_by_where_the_run_stands(epoch: int, step: int, name: str) -> None:
    assert checkpoint_name(epoch, step) == name
    assert checkpoint_position(name) == (epoch, step)


@pytest.mark.parametrize("name", [*OTHERS, f"checkpoint-epoch{'9' * 5000}.pth"])
def test_another_name_is_no_checkpoints(name: str) -> None:
    assert checkpoint_position(name) is None


def test_checkpoints_are_ordered_by_progress_not_by_name_or_age(tmp_path: Path) -> None:
    positions = [(9, 0), (0, 3), (10, 0), (9, 12), (9, 2), (1, 0), (10, 1)]
    for epoch, step in positions:
        (tmp_path / checkpoint_name(epoch, step)).touch()
    for other in filter(None, OTHERS):
        (tmp_path / other).touch()
    found = [path.name for path in checkpoints_of(tmp_path)]
    assert found == [checkpoint_name(*position) for position in sorted(positions, reverse=True)]
