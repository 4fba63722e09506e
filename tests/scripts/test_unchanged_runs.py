"""What the record of unchanged runs is sensitive to, and what not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import unchanged_runs
from benchmarks.tiny_data import write_class_folders
from benchmarks.unchanged_runs import differences, outcome
from tests.scripts.command_line import files_below

WEIGHTS = {"a": torch.arange(24.0).reshape(1, 2, 3, 4), "b": torch.tensor(3)}
LOG = {"epoch": 1.0, "loss": 0.1}


def recorded(folder: Path, weights: dict[str, torch.Tensor] = WEIGHTS, **log: float) -> dict[str, Any]:
    path = folder / "checkpoint.pth"
    torch.save({"state_dict": weights, "progress": {"history": [{**LOG, **log}]}}, path)
    return outcome(path)


def test_neither_the_order_of_the_weights_nor_their_layout_in_memory_counts(tmp_path: Path) -> None:
    other = {"b": WEIGHTS["b"], "a": WEIGHTS["a"].to(memory_format=torch.channels_last)}
    assert recorded(tmp_path, other) == recorded(tmp_path)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"a": torch.nextafter(WEIGHTS["a"], torch.tensor(torch.inf))}, "the weights differ"),
        ({"b": torch.tensor(3.0)}, "the weights' names, types or shapes differ"),
        ({"a": WEIGHTS["a"].reshape(2, 12)}, "the weights' names, types or shapes differ"),
        ({"c": WEIGHTS["b"]}, "the weights' names, types or shapes differ"),
    ],
)
def test_a_bit_a_type_a_shape_and_a_name_count(tmp_path: Path, changed: dict[str, torch.Tensor], told: str) -> None:
    assert list(differences(recorded(tmp_path), recorded(tmp_path, {**WEIGHTS, **changed}))) == [told]


def test_each_logged_number_that_differs_is_told_exactly(tmp_path: Path) -> None:
    found = list(differences(recorded(tmp_path), recorded(tmp_path, loss=0.1 + 2**-56, more=1.0)))
    assert found == [
        "epoch 1, loss: 0.1 then, 0.10000000000000002 now",
        "epoch 1, more: None then, 1.0 now",
    ]


def test_the_drawn_files_are_the_same_at_every_call(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_class_folders(tmp_path / name)
    assert files_below(tmp_path / "one") == files_below(tmp_path / "other")


def test_a_run_that_differs_from_the_record_is_told_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compared(*arguments: object) -> tuple[object, list[str]]:
        monkeypatch.setattr("sys.argv", ["unchanged_runs.py", "--only", "CutMix", *(str(part) for part in arguments)])
        with pytest.raises(SystemExit) as ended:
            unchanged_runs.main()
        return ended.value.code, capsys.readouterr().out.splitlines()[1:]

    # what a run leaves behind, without the run
    monkeypatch.setattr(unchanged_runs, "run", lambda *_: tmp_path / "checkpoint.pth")
    recorded(tmp_path)
    assert compared("--out", tmp_path / "record.json") == (0, [])
    assert compared("--compare", tmp_path / "record.json") == (0, [])
    recorded(tmp_path, {**WEIGHTS, "b": torch.tensor(4)})
    assert compared("--compare", tmp_path / "record.json") == (1, ["  CutMix: the weights differ"])
