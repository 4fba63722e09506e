"""The page that compares runs: its figures are the results, its groups the configurations; who is left out is named."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import pytest

from tests.trainer import test_report as of_one
from tests.trainer.small_runs import small_config
from tools.report import build_parser
from trainer.report import compared
from trainer.report.compared_page import write_comparison
from trainer.report.data import RunClasses
from utils.errors import UserError


def evaluated(folder: Path, seed: int, **changes: object) -> float:
    """A made-up run of ten classes; its balanced accuracy, which is moved to differ from seed to seed."""
    folder.mkdir()
    of_one.evaluated_run(folder, 10)
    (folder / "config.json").write_text(json.dumps({**small_config(**changes), "seed": seed}))
    content = json.loads((folder / "results.json").read_text())
    for row in content["results"]:
        row["balanced_accuracy"] -= seed / 100
    (folder / "results.json").write_text(json.dumps(content))
    return content["results"][0]["balanced_accuracy"]


def test_groups_means_deviations_and_settings_are_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [of_one.HOSTILE, *(f"class {place}" for place in range(1, 10))]
    monkeypatch.setattr(compared, "read_classes", lambda *_: RunClasses(names, of_one.long_tail(10)))
    ours = [evaluated(tmp_path / f"a{seed}", seed) for seed in (1, 2, 4)]
    other = evaluated(tmp_path / "b1", 1, optimizer__args__lr=0.2)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text(json.dumps(small_config()))
    folders = [tmp_path / name for name in ("a1", "a2", "a4", "b1", "bare")]
    page = write_comparison(folders, tmp_path / "out.html")
    shown = of_one.Page(page)
    told = f"{100 * statistics.mean(ours):.2f} ± {100 * statistics.stdev(ours):.2f} % of 3 runs"
    assert "2 configurations." in shown.text
    assert told in shown.text
    assert f"{100 * other:.2f} % of 1 run" in shown.text
    assert "optimizer.args.lr" in shown.text and "0.2" in shown.text
    assert re.search(r"left out: .*bare", shown.text)
    assert of_one.HOSTILE in shown.text
    assert "script" not in shown.tags
    assert all(place.startswith(("#", "data:")) for place in shown.pointed)
    assert [bool(image["alt"]) for image in shown.images] == [True]
    assert page.stat().st_size < 3_000_000


def test_runs_without_results_are_no_comparison(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(small_config()))
    with pytest.raises(UserError, match="no run with results among 1"):
        write_comparison([tmp_path], tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_several_runs_can_be_named() -> None:
    assert build_parser().parse_args(["a", "b"]).runs == [Path("a"), Path("b")]
