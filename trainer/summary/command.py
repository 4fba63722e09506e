"""What `python -m tools.summary` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.metrics import METRICS
from trainer.summary.comparisons import Comparison, compare_images, compare_seeds, made
from trainer.summary.folders import run_folders
from trainer.summary.groups import read_groups
from trainer.summary.tables import comparison_sheet, describe, summary_sheet, written
from utils.errors import UserError, nearest


def summarise(places: Sequence[Path], *, kind: str, metric: str) -> tuple[str, list[str]]:
    """The summary of all runs in `places`, and warnings, one line each.

    Args:
        places: folders of runs, or folders that contain them.
        kind: of the text: "table", "csv", "markdown", "latex".
        metric: that the paired t tests are of.

    Raises:
        UserError: there is no such metric, or no run with results.
    """
    if metric not in METRICS:
        raise UserError(
            f"--metric {metric}: there is no such metric{nearest(metric, METRICS)}; any of {', '.join(METRICS)}"
        )
    groups, warnings = read_groups(run_folders(places))
    sheets, remarks = [summary_sheet(groups)], describe(groups)
    if len(groups) > 1:
        if tests := compare_seeds(groups, metric):
            sheets.append(comparison_sheet(f"Paired t over common seeds, {metric}", tests))
            remarks.append(f"Paired t: p by Holm over {_tests(tests)}; none of one seed, or of equal differences.")
        tests, found = compare_images(groups)
        warnings += found
        if tests:
            sheets.append(comparison_sheet("McNemar over images, exact", tests))
            remarks.append(
                f"McNemar: p by Holm over {_tests(tests)}; over several seeds an image counts several times, so "
                "p is about these networks and low for other seeds."
            )
    return written(sheets, remarks, kind), warnings


def _tests(comparisons: Sequence[Comparison]) -> str:
    count = made(comparisons)
    return f"{count} test{'' if count == 1 else 's'}"
