"""`python -m tools.summary`: its numbers are SciPy's and those of a hand's calculation, in every format."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.scripts.command_line import Shell
from tests.tools.runs_by_hand import make_run
from trainer.summary.comparisons import compare_images, compare_seeds, holm, mcnemar, paired_t, spread_of
from trainer.summary.folders import run_folders
from trainer.summary.groups import Group, grouped, read_run
from trainer.summary.tables import Sheet, for_latex, summary_sheet, written

OURS = {1: [0, 1, 2, 3, 4, 5], 2: [0, 1, 2, 3, 4, 5, 6], 3: [0, 1, 2, 3, 4]}  # images that are right
THEIRS = {1: [0, 1, 6], 2: [0, 1, 2, 3], 3: [0, 1, 2, 3, 7]}


def accuracies(right: dict[int, list[int]]) -> list[float]:
    return [len(places) / 8 for places in right.values()]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two groups of three seeds: learning rates 0.05 and 0.5."""
    for name, lr, right in (("ours", 0.05, OURS), ("theirs", 0.5, THEIRS)):
        for seed, places in right.items():
            row = {"accuracy": len(places) / 8, "ece": seed / 100, "few": None}
            folder = tmp_path / "runs" / name / str(seed)
            make_run(folder, seed, [row], right=places, name=name, optimizer__args__lr=lr)
    return tmp_path / "runs"


def groups_of(folder: Path) -> list[Group]:
    return grouped([read_run(path) for path in run_folders([folder])])[0]


def cells(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_means_and_deviations_are_those_of_the_runs(runs: Path, shell: Shell) -> None:
    ended = shell("tools.summary", runs, "--format", "csv")
    assert (ended.code, ended.err) == (0, "")
    summary, by_seed, by_image = ended.out.split("\n\n")
    for row, right in zip(cells(summary), (OURS, THEIRS), strict=True):
        assert float(row["accuracy_mean"]) == pytest.approx(np.mean(accuracies(right)))
        assert float(row["accuracy_std"]) == pytest.approx(np.std(accuracies(right), ddof=1))
        assert (float(row["ece_mean"]), float(row["ece_std"])) == (pytest.approx(0.02), pytest.approx(0.01))
        assert row["settings"] == f"optimizer.args.lr = {0.05 if right is OURS else 0.5}"
        assert (row["runs"], row["few_mean"], row["few_std"], row["distribution"]) == ("3", "", "", "uniform")
    (t,), (pairs,) = cells(by_seed), cells(by_image)
    assert float(t["p"]) == pytest.approx(stats.ttest_rel(accuracies(OURS), accuracies(THEIRS)).pvalue)
    # right in ours alone: 2 3 4 5, 4 5 6, 4; in theirs alone: 6, none, 7
    assert (pairs["first_alone"], pairs["second_alone"]) == ("8", "2")
    assert float(pairs["p"]) == pytest.approx(stats.binomtest(8, 10).pvalue)
    assert float(pairs["difference"]) == pytest.approx(6 / 24) == float(t["difference"])


def test_the_table_names_what_differs(runs: Path, shell: Shell) -> None:
    text = shell("tools.summary", runs).out
    assert "75.00 ± 12.50" in text
    assert "A: seeds 1, 2, 3; ours; optimizer.args.lr = 0.05\n" in text
    assert "B: seeds 1, 2, 3; theirs; optimizer.args.lr = 0.5\n" in text
    assert "Paired t: p by Holm over 1 test;" in text
    assert "predictor" not in text  # the same in every row


def test_a_default_that_is_written_out_is_no_other_configuration(tmp_path: Path) -> None:
    for seed, changes in ((1, {}), (2, {"loss__args__tau_list": [0.0, 2]}), (3, {"n_gpu": 1})):
        make_run(tmp_path / str(seed), seed, [{"accuracy": 0.5}], name=f"n{seed}", **changes)
    path = tmp_path / "2" / "config.json"
    config = json.loads(path.read_text())
    config["data_loader"]["args"]["validation_split"] = 0.0
    path.write_text(json.dumps(config))
    (group,) = groups_of(tmp_path)
    assert group.seeds == [1, 2, 3]
    assert group.differing == {}


def test_what_makes_a_summary_doubtful_is_said_in_a_line_each(runs: Path, shell: Shell) -> None:
    make_run(runs / "more", 4, [{"accuracy": 0.5}], commit="d" * 40, epoch=1, optimizer__args__lr=0.5)
    make_run(runs / "again", 4, [{"accuracy": 0.7}], commit="d" * 40, epoch=1, optimizer__args__lr=0.5)
    (runs / "damaged").mkdir()
    (runs / "damaged" / "config.json").write_text("{")
    lines = shell("tools.summary", runs).err.splitlines()
    assert all(line.startswith("warning: ") for line in lines)
    for part in (
        *("left out: ", f"{runs}/again: left out: {runs}/more has its configuration and seed 4"),
        *("mixed commits: cccccccccc (6 runs), dddddddddd (1 run)", "lacks seeds that another has: 4"),
        *("unequal epochs: ", "there is no checkpoint-epoch1.predictions.npz"),
    ):
        assert sum(part in line for line in lines) == 1 + (part == "left out: "), (part, lines)


def test_predictions_of_other_results_are_not_compared(runs: Path, shell: Shell) -> None:
    for place, told in (("1", "are not those of its results"), ("2", "is damaged")):
        path = runs / "ours" / place / "checkpoint-epoch2.predictions.npz"
        path.write_bytes((runs / "theirs" / "1" / path.name).read_bytes() if place == "1" else b"PK")
        assert told in shell("tools.summary", runs).err
    groups = groups_of(runs)
    ((comparison,), warnings) = compare_images(groups)
    assert (comparison.seeds, comparison.counts, len(warnings)) == (1, (1, 1), 2)


def test_the_latest_checkpoint_that_was_evaluated_counts(tmp_path: Path) -> None:
    rows = [{"accuracy": 0.1, "checkpoint": name} for name in ("checkpoint-epoch9.pth", "model_best.pth")]
    make_run(tmp_path / "1", 1, [*rows, {"accuracy": 0.7, "checkpoint": "checkpoint-epoch10.pth"}])
    run = read_run(tmp_path / "1")
    assert [row["accuracy"] for row in run.rows.values()] == [0.7]


def test_students_paired_t_is_scipys() -> None:
    first, second = np.random.default_rng(0).random((2, 7))
    assert paired_t(first, second) == pytest.approx(stats.ttest_rel(first, second).pvalue)
    order = np.random.default_rng(1).permutation(7)
    assert paired_t(first[order], second[order]) == pytest.approx(paired_t(first, second))
    assert paired_t(second, first) == pytest.approx(paired_t(first, second))
    assert paired_t([0.3], [0.1]) is None
    assert paired_t([0.3, 0.4], [0.2, 0.3]) is None  # equal but for rounding


@pytest.mark.parametrize(("first", "second", "expected"), [(0, 0, 1), (1, 0, 1), (0, 6, 2 / 64), (1, 5, 14 / 64)])
def test_mcnemars_p_is_a_count_of_coin_throws(first: int, second: int, expected: float) -> None:
    assert mcnemar(first, second) == mcnemar(second, first) == pytest.approx(expected)


def test_holms_adjustment_by_hand() -> None:
    # 0.01 · 4, 0.02 · 3, max(0.06, 0.025 · 2), 0.6 · 1
    assert holm([0.6, 0.01, None, 0.025, 0.02]) == [0.6, 0.04, None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.fixture
def statsmodels() -> Any:
    """The library with its parts that are used here."""
    for name in ("stats.weightstats", "stats.multitest", "stats.contingency_tables"):
        pytest.importorskip(f"statsmodels.{name}")
    return sys.modules["statsmodels"]


def test_intervals_adjustments_and_pair_tests_are_those_of_statsmodels(statsmodels: Any, runs: Path) -> None:
    values = np.random.default_rng(2).random(6)
    low, high = statsmodels.stats.weightstats.DescrStatsW(values).tconfint_mean()
    spread = spread_of(values.tolist())
    assert spread is not None
    assert spread.margin is not None
    assert (spread.mean - spread.margin, spread.mean + spread.margin) == pytest.approx((low, high))
    p_values = np.random.default_rng(3).random(9) ** 3
    assert holm(p_values.tolist()) == pytest.approx(
        statsmodels.stats.multitest.multipletests(p_values, method="holm")[1]
    )
    for alone, others in ((8, 2), (3, 3), (0, 7)):
        table = statsmodels.stats.contingency_tables.mcnemar([[5, alone], [others, 5]], exact=True)
        assert mcnemar(alone, others) == pytest.approx(table.pvalue)
    (comparison,) = compare_seeds(groups_of(runs), "accuracy")
    differences = np.subtract(accuracies(OURS), accuracies(THEIRS))
    low, high = statsmodels.stats.weightstats.DescrStatsW(differences).tconfint_mean()
    assert comparison.margin == pytest.approx((high - low) / 2)
    assert comparison.difference == pytest.approx((high + low) / 2)


def test_one_value_has_no_deviation() -> None:
    assert spread_of([0.5]) == (0.5, None, 1, None)
    assert spread_of([]) is None


def test_the_order_of_runs_and_their_names_change_nothing(runs: Path) -> None:
    found = [read_run(path) for path in run_folders([runs])]
    mixed = [found[place] for place in (2, 0, 4, 1, 5, 3)]
    (first, _), (second, _) = grouped(found), grouped(mixed)
    assert summary_sheet(first) == summary_sheet(second)
    assert compare_seeds(first, "accuracy") == compare_seeds(second, "accuracy")
    assert compare_images(first) == compare_images(second)


def test_groups_the_other_way_round_have_the_opposite_difference(runs: Path) -> None:
    found = [read_run(path) for path in run_folders([runs])]
    (first, _), (second, _) = grouped(found), grouped(found[::-1])
    for compare in (lambda groups: compare_seeds(groups, "accuracy"), lambda groups: compare_images(groups)[0]):
        (ours,), (theirs,) = compare(first), compare(second)
        assert ours.difference == pytest.approx(-theirs.difference)
        assert ours.p_value == pytest.approx(theirs.p_value)
        assert (ours.counts or ())[::-1] == (theirs.counts or ())


def test_the_tests_of_a_kind_are_adjusted_together(runs: Path) -> None:
    for seed, accuracy in ((1, 0.1), (2, 0.3), (3, 0.2)):
        make_run(runs / "third" / str(seed), seed, [{"accuracy": accuracy}], optimizer__args__lr=5.0)
    comparisons = compare_seeds(groups_of(runs), "accuracy")
    assert len(comparisons) == 3
    assert [each.adjusted for each in comparisons] == holm([each.p_value for each in comparisons])


SHEET = Sheet("50 % of {A_1}", ["group", "accuracy"], ["a & b", "top-1 %"], [["x_y|z\\~^#$", spread_of([0.5, 0.7])]])


def test_latex_is_escaped_and_balanced(runs: Path, shell: Shell) -> None:
    for text in (written([SHEET], ["50 %"], "latex"), shell("tools.summary", runs, "--format", "latex").out):
        opened: list[str] = []
        for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
            assert what == "begin" or opened.pop() == name
            opened += [name] if what == "begin" else []
        assert opened == []
        bare = re.sub(r"^%.*$", "", text, flags=re.MULTILINE)
        bare = re.sub(r"\\(?:[&%$#_{}\\]|[a-z]+)", "", bare)
        depths = np.cumsum([{"{": 1, "}": -1}.get(letter, 0) for letter in bare])
        assert depths.min() == depths[-1] == 0
        assert bare.count("$") % 2 == 0
        assert not set("#%_^~") & set(bare)
    assert for_latex("5 % & ±") == r"5 \% \& $\pm$"


def test_latex_rows_have_as_many_cells_as_columns(runs: Path, shell: Shell) -> None:
    text = shell("tools.summary", runs, "--format", "latex").out
    for columns, body in re.findall(r"\\begin\{tabular\}\{(l\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}
        assert len(rows) >= 2


def test_markdown_rows_have_as_many_cells_as_the_header() -> None:
    _, _, *lines = written([SHEET], [], "markdown").strip().splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}
    assert lines[2] == r"| x\_y\|z\\~^#$ | 60.00 ± 14.14 |"


def test_it_is_written_whole(runs: Path, shell: Shell, tmp_path: Path) -> None:
    printed = shell("tools.summary", runs, "--format", "markdown").out
    ended = shell("tools.summary", runs, "--format", "markdown", "--out", tmp_path / "new" / "s.md")
    assert (ended.code, ended.out) == (0, f"Summary: {tmp_path}/new/s.md\n")
    assert (tmp_path / "new" / "s.md").read_text() == printed


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["empty"], "empty: no run in there"),
        (["runs", "--metric", "acuracy"], "did you mean 'accuracy'"),
        (["runs", "--format", "html"], "invalid choice"),
        (["untested"], "no run with results"),
    ],
)
def test_mistakes_are_told_in_a_line(
    flags: list[Any], told: str, runs: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs.parent)
    Path("empty").mkdir()
    make_run(Path("untested/1"), 1, [])
    ended = shell("tools.summary", *flags)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
    assert told in ended.err
