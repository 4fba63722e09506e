"""Whether two groups of runs differ beyond chance: paired t over seeds, exact McNemar over images, both with Holm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trainer.evaluation.aggregations.mean import mean_of_experts
from trainer.summary.groups import Group, Question, Run, questions_of

_SAME = 1e-9  # differences that are apart by rounding alone


class Spread(NamedTuple):
    """Mean and sample standard deviation (ddof 1; None of a single value) over `runs` runs.

    `margin` is half of the 95 % confidence interval of the mean, by Student's t.
    """

    mean: float
    std: float | None
    runs: int
    margin: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two groups and one question; a p value of None: the test can't be made.

    Args:
        first, second: labels of the groups.
        question: whose rows or predictions were compared.
        seeds: that both groups have.
        difference: first minus second: the mean difference of the metric, or of the accuracies.
        margin: half of its 95 % confidence interval over other seeds; None of a single seed, and of McNemar's test.
        counts: McNemar's discordant pairs: (right in the first alone, right in the second alone); None: a t test.
        p_value: two-sided.
        adjusted: by Holm, over all tests of the kind.
    """

    first: str
    second: str
    question: Question
    seeds: int
    difference: float
    counts: tuple[int, int] | None
    p_value: float | None
    adjusted: float | None = None
    margin: float | None = None


def spread_of(values: Sequence[float]) -> Spread | None:
    """Mean, standard deviation and interval; None of no values."""
    if not values:
        return None
    size, mean = len(values), float(np.mean(values))
    if size == 1:
        return Spread(mean, None, 1)
    std = float(np.std(values, ddof=1))
    return Spread(mean, std, size, float(stats.t.ppf(0.975, size - 1)) * std / math.sqrt(size))


def paired_t(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Two-sided p of Student's paired t test; None for fewer than two pairs, or where all differences are equal."""
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if len(differences) < 2 or np.ptp(differences) <= _SAME:
        return None
    return float(stats.ttest_rel(first, second).pvalue)


def mcnemar(first_alone: int, second_alone: int) -> float:
    """Two-sided p of McNemar's exact test, given how many pairs only the first, and only the second, has right."""
    discordant = first_alone + second_alone
    return float(stats.binomtest(first_alone, discordant, 0.5).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (1979); what is None is no test, and does not count."""
    tests = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(tests):
        highest = max(highest, min(1.0, p * (len(tests) - rank)))
        adjusted[place] = highest
    return adjusted


def with_holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Tests with the p values that Holm's adjustment gives them among one another."""
    adjusted = holm([each.p_value for each in comparisons])
    return [replace(each, adjusted=value) for each, value in zip(comparisons, adjusted, strict=True)]


def compare_seeds(groups: Sequence[Group], metric: str) -> list[Comparison]:
    """Paired t tests of a metric over common seeds, for every pair of groups and every question that both answer."""
    found = []
    for (first, second), question in product(combinations(groups, 2), questions_of(groups)):
        ours, theirs = (_values(group, question, metric) for group in (first, second))
        if seeds := [seed for seed in ours if seed in theirs]:
            a, b = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
            difference = math.fsum(a) / len(a) - math.fsum(b) / len(b)
            spread = spread_of([x - y for x, y in zip(a, b, strict=True)])
            margin = None if spread is None else spread.margin
            made_of = (first.label, second.label, question, len(seeds), difference, None, paired_t(a, b))
            found.append(Comparison(*made_of, margin=margin))
    return with_holm(found)


def compare_images(groups: Sequence[Group]) -> tuple[list[Comparison], list[str]]:
    """McNemar's tests on the kept predictions of the whole test split, without a prior and without calibration.

    Discordant pairs are added up over the common seeds. Pairs of one image under several seeds are not independent, so
    with several seeds the test is about these very networks, and its p values are low for others of their kind.

    Returns:
        the comparisons, and warnings about runs without usable predictions, one line each.
    """
    asked = [q for q in questions_of(groups) if (q.protocol, q.prior, q.calibration) == ("test", "none", "none")]
    kept: dict[Run, _Kept | str] = {run: _read_kept(run, asked) for group in groups for run in group.runs}
    warnings = [
        f"{run.folder}: left out of McNemar's tests: {why}" for run, why in kept.items() if isinstance(why, str)
    ]
    found = []
    for (first, second), question in product(combinations(groups, 2), asked):
        ours, theirs = (_right(group, question, kept) for group in (first, second))
        pairs = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs and ours[seed].pairs_with(theirs[seed])]
        if pairs:
            alone = sum(int((a.right & ~b.right).sum()) for a, b in pairs)
            others = sum(int((b.right & ~a.right).sum()) for a, b in pairs)
            difference = (alone - others) / sum(len(a.right) for a, _ in pairs)
            p_value = mcnemar(alone, others)
            found.append(
                Comparison(first.label, second.label, question, len(pairs), difference, (alone, others), p_value)
            )
    return with_holm(found), warnings


def made(comparisons: Sequence[Comparison]) -> int:
    """How many of the tests could be made: as many Holm's correction is for."""
    return sum(each.p_value is not None for each in comparisons)


class _Answers(NamedTuple):
    """Which images a predictor has right [N], and which images these are: labels [N], those skipped."""

    right: NDArray[np.bool_]
    targets: NDArray[np.integer]
    skipped: NDArray[np.integer]

    def pairs_with(self, other: _Answers) -> bool:
        return np.array_equal(self.targets, other.targets) and np.array_equal(self.skipped, other.skipped)


_Kept = Mapping[Question, _Answers]


def _read_kept(run: Run, asked: Sequence[Question]) -> _Kept | str:
    """The answers to those of the questions that a run has rows of; else why there are none."""
    path = run.folder / f"{run.checkpoint.removesuffix('.pth')}.predictions.npz"
    try:
        with path.open("rb") as file, np.load(file) as content:
            arrays: dict[str, NDArray[Any]] = {name: content[name] for name in content}
        kept = {}
        for question in asked:
            if question in run.rows and f"logits_{question.weights}" in arrays:
                logits = _of_predictor(arrays[f"logits_{question.weights}"], question.predictor)
                right = logits.argmax(axis=1) == arrays["targets"]
                if abs(right.mean() - run.rows[question]["accuracy"]) > 0.5 / len(right):
                    return "the predictions kept are not those of its results"
                kept[question] = _Answers(right, arrays["targets"], arrays["skipped"])
    except FileNotFoundError:
        return f"there is no {path.name}"
    except Exception:  # a damaged archive, or row, raises nearly anything
        return f"{path.name} is damaged"
    return kept


def _of_predictor(logits: NDArray[np.floating], predictor: str) -> NDArray[np.floating]:
    """[N, E, C] → [N, C]."""
    if predictor == "ensemble":
        return mean_of_experts(logits)
    return logits[:, int(predictor.removeprefix("expert "))]


def _right(group: Group, question: Question, kept: Mapping[Run, _Kept | str]) -> dict[int, _Answers]:
    found = {run.seed: kept[run] for run in group.runs if run.seed is not None}
    return {seed: own[question] for seed, own in found.items() if not isinstance(own, str) and question in own}


def _values(group: Group, question: Question, metric: str) -> dict[int, float]:
    rows = group.rows_by_seed(question)
    return {seed: row[metric] for seed, row in rows.items() if seed is not None and row.get(metric) is not None}
