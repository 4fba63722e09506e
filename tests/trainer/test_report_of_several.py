"""The page that compares runs: its figures are the results, its groups the configurations; who is left out is named."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.trainer import test_report as of_one
from tests.trainer.small_runs import small_config
from tools.report import build_parser
from trainer.report import compared
from trainer.report.compared_page import write_comparison
from trainer.report.data import RunClasses
from utils.errors import UserError


def evaluated(folder: Path, seed: int, *, draw: int = 7, **changes: object) -> float:
    """A made-up run of ten classes; its balanced accuracy, which is moved to differ from seed to seed."""
    folder.mkdir()
    of_one.evaluated_run(folder, 10, draw=draw)
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


def right(run: Path) -> np.ndarray:
    """Which images the mean of the experts has right."""
    with np.load(run / "checkpoint-epoch3.predictions.npz") as kept:
        return kept["logits_raw"].mean(axis=1).argmax(axis=1) == kept["targets"]


def rows_of_table(page: Path, caption: str) -> list[list[str]]:
    """The cells of the table whose caption begins so."""
    _, _, table = page.read_text(encoding="utf8").partition(f">{caption}")
    body = table.partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("</tr>") if "<td>" in row]


def test_groups_are_compared_image_by_image_with_holms_correction(tmp_path: Path) -> None:
    """Three groups of one run: the discordant pairs are counted by hand, p values are statsmodels'."""
    mcnemar = pytest.importorskip("statsmodels.stats.contingency_tables").mcnemar
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    for draw, name in enumerate("abc"):
        evaluated(tmp_path / name, 1, draw=draw, optimizer__args__lr=0.1 * (draw + 1))
    page = write_comparison([tmp_path / name for name in "abc"], tmp_path / "out.html")
    rows = rows_of_table(page, "Accuracy over images, McNemar")
    pairs = [(right(tmp_path / a), right(tmp_path / b)) for a, b in ("ab", "ac", "bc")]
    alone = [(int((a & ~b).sum()), int((b & ~a).sum())) for a, b in pairs]
    p_values = [mcnemar([[0, one], [other, 0]], exact=True).pvalue for one, other in alone]
    assert [row[:3] for row in rows] == [[f"{a} − {b}", "uniform", "1"] for a, b in ("AB", "AC", "BC")]
    assert [(int(row[4]), int(row[5])) for row in rows] == alone
    assert [float(row[3].replace("−", "-")) for row in rows] == [100 * (a - b) / 40 for a, b in alone]
    assert [float(row[6]) for row in rows] == pytest.approx(p_values, rel=0.05)
    assert [float(row[7]) for row in rows] == pytest.approx(multipletests(p_values, method="holm")[1], rel=0.05)
    assert "p by Holm over 3 tests" in of_one.Page(page).text


def test_seeds_that_both_groups_have_are_compared_by_a_paired_t_test(tmp_path: Path) -> None:
    """Three runs of each, whose balanced accuracies differ by seed; p is scipy's."""
    ours = [evaluated(tmp_path / f"a{seed}", seed) for seed in (1, 2, 4)]
    theirs = [evaluated(tmp_path / f"b{seed}", seed, draw=seed, optimizer__args__lr=0.2) for seed in (1, 2, 4)]
    page = write_comparison(sorted(tmp_path.iterdir()), tmp_path / "out.html")
    (row,) = rows_of_table(page, "Balanced accuracy over common seeds")
    assert row[:3] == ["A − B", "uniform", "3"]
    assert float(row[3].replace("−", "-")) == pytest.approx(
        100 * (statistics.mean(ours) - statistics.mean(theirs)), abs=0.006
    )
    assert float(row[5]) == pytest.approx(stats.ttest_rel(ours, theirs).pvalue, rel=0.05)


def test_runs_of_other_seeds_have_no_images_to_compare(tmp_path: Path) -> None:
    evaluated(tmp_path / "a", 1)
    evaluated(tmp_path / "b", 2, optimizer__args__lr=0.2)
    page = write_comparison([tmp_path / "a", tmp_path / "b"], tmp_path / "out.html")
    assert rows_of_table(page, "Accuracy over images") == []
    assert "McNemar's test over images takes runs of the same seed" in of_one.Page(page).text


def test_runs_without_results_are_no_comparison(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(small_config()))
    with pytest.raises(UserError, match="no run with results among 1"):
        write_comparison([tmp_path], tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_several_runs_can_be_named() -> None:
    assert build_parser().parse_args(["a", "b"]).runs == [Path("a"), Path("b")]
