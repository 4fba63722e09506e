"""`make bench-gpu` measures what it says; its logic on a CPU."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from base.base_data_loader import CPU
from benchmarks import gpu
from benchmarks.alternating import PLAIN
from benchmarks.cifar_run import RECIPE
from benchmarks.gpu import COPIED, WAYS, Measured, measured, report
from tests.scripts.command_line import ROOT
from tests.trainer.small_runs import with_changes
from trainer.config.run_config import find_problems
from trainer.trainer import Trainer
from utils.config.json_files import read_configuration
from utils.errors import UserError


def test_each_way_trains_whole_epochs_by_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noted(title: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*arguments: Any, **options: Any) -> Any:
            order.append(title)
            return step(*arguments, **options) if order.count(title) == 1 else None  # the others take their time

        return noting

    monkeypatch.setattr(gpu, "plain_step", noted("plain", gpu.plain_step))
    monkeypatch.setattr(Trainer, "train_step", noted("ours", Trainer.train_step))
    found = measured(tmp_path, CPU, ways={COPIED: WAYS[COPIED]}, rounds=2, steps=1, warm_up=1)
    assert list(found) == [PLAIN, COPIED]
    assert order == ["plain", "ours"] * 3, "an epoch of one step each: to warm up, then two that count"
    for way in found.values():
        assert (way.steps, len(way.seconds)) == (1, 2)
        assert way.images == sum(math.floor(6 * 0.01 ** (label / 99)) for label in range(100)) <= 128
        assert way.first > 0


def test_the_table_has_medians_and_the_ratio_of_each_round() -> None:
    found = {
        PLAIN: Measured(1000, 8, first=9.0, seconds=[10.0, 20.0, 30.0], waits=8.5, launches=2000.0, memory=2**30),
        "ours": Measured(1000, 8, first=60.0, seconds=[5.0, 5.0, 6.0], waits=0.0, launches=12.0, memory=2**29),
    }
    _, _, plain, ours = report(found).splitlines()
    assert plain.split() == ["plain", "50", "1.00", "1.00–1.00", "8.5", "2000.0", "1.00", "9.0"]
    assert ours.split() == ["ours", "200", "4.00", "2.00–5.00", "0.0", "12.0", "0.50", "60.0"]


@pytest.mark.parametrize("title", WAYS)
def test_every_way_is_a_sound_configuration(title: str) -> None:
    recipe, _ = read_configuration(ROOT / RECIPE)
    assert find_problems(with_changes(recipe, WAYS[title])) == []


def test_without_a_gpu_it_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"^no GPU found; .*$") as told:
        gpu.main()
    assert told.value.exit_code == 2
    assert len(told.value.lines) == 1
