"""Whether groups of runs differ beyond chance, as tables: over seeds by paired t tests, over images by McNemar's."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.report.compared import Compared
from trainer.report.parts import Part, Table
from trainer.summary.comparisons import Comparison, made
from utils.reporting.tables import NOTHING

_MOST_ROWS = 60


def differences(compared: Compared) -> Part:
    """The section; empty where there is one group alone."""
    if len(compared.groups) < 2:
        return Part("differences", "Differences")
    tables, words = [], []
    if by_seed := compared.seed_tests():
        tables.append(_seed_table(by_seed))
        words.append(f"Over seeds: would other seeds differ, too? p by Holm over {_count(by_seed)}, two-sided.")
    if compared.image_tests:
        tables.append(_image_table(compared.image_tests))
        words.append(
            f"Over images: do these very networks differ? p by Holm over {_count(compared.image_tests)}, two-sided, "
            "from the images that only one of a pair has right. Over several seeds an image counts several times: for "
            "other seeds p is too low."
        )
    else:
        words.append(
            "McNemar's test over images takes runs of the same seed in two groups, each with results and kept "
            "predictions of test.py on the same images."
        )
    return Part("differences", "Differences", words, tables=tables)


def _seed_table(tests: Sequence[Comparison]) -> Table:
    header = ("pair", "test images", "seeds", "difference, points", "± 95 %", "p", "p (Holm)")
    rows = [(*_asked(test), _points(test.difference), _margin(test), *_p_values(test)) for test in tests]
    return Table(f"Balanced accuracy over common seeds, paired t test{_of(rows)}", header, rows[:_MOST_ROWS])


def _image_table(tests: Sequence[Comparison]) -> Table:
    counts = ("only 1st right", "only 2nd right")
    header = ("pair", "test images", "seeds", "difference, points", *counts, "p", "p (Holm)")
    rows = [(*_asked(test), _points(test.difference), *_alone(test), *_p_values(test)) for test in tests]
    return Table(f"Accuracy over images, McNemar's exact test{_of(rows)}", header, rows[:_MOST_ROWS])


def _asked(test: Comparison) -> tuple[str, str, str]:
    weights = "" if test.question.weights == "raw" else f", {test.question.weights} weights"
    return f"{test.first} − {test.second}", test.question.distribution + weights, str(test.seeds)


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f}".replace("-", "−")


def _margin(test: Comparison) -> str:
    return NOTHING if test.margin is None else f"{100 * test.margin:.2f}"


def _alone(test: Comparison) -> tuple[str, str]:
    first, second = test.counts or (0, 0)
    return f"{first:,}", f"{second:,}"


def _p_values(test: Comparison) -> tuple[str, str]:
    first, second = (NOTHING if p is None else f"{p:.2g}" for p in (test.p_value, test.adjusted))
    return first, second


def _count(tests: Sequence[Comparison]) -> str:
    count = made(tests)
    return f"{count} test{'s' * (count != 1)}"


def _of(rows: Sequence[object]) -> str:
    return f", the first {_MOST_ROWS} of {len(rows)}; all by python -m tools.summary" if len(rows) > _MOST_ROWS else ""
