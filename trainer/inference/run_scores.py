"""Scores of a run as rows, table, data frame and figures; the figures are those of the report.

`C` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.intervals import wilson_interval
from trainer.evaluation.results import results_table
from trainer.report.content import ClassLine
from trainer.report.pictures import classes_figure, shifts_figure
from utils.errors import UserError
from utils.shot_groups import shot_groups

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_ENSEMBLE = "ensemble"


@dataclass(frozen=True, eq=False)
class RunScores:
    """What one evaluation found; `print` shows it as the scripts do.

    Args:
        rows: one a distribution and predictor, with the columns of `results.json`: docs/command_line.md.
        class_names: length C.
        class_counts: training images of each class, length C.
        assumption: of the test prior, in words.
    """

    rows: list[dict[str, Any]]
    class_names: list[str]
    class_counts: list[int]
    assumption: str

    def __str__(self) -> str:
        several = len({row["distribution"] for row in self.rows}) > 1
        return f"{self.assumption}\n\n{results_table(self.rows, first='distribution' if several else 'predictor')}"

    def frame(self) -> pd.DataFrame:
        """A row a distribution and predictor, and a column for each number or word; lists are left to `rows`."""
        import pandas as pd  # noqa: PLC0415 - half a second

        return pd.DataFrame(self.rows).drop(
            columns=[
                name
                for name in dict.fromkeys(name for row in self.rows for name in row)
                if any(isinstance(row.get(name), list | dict) for row in self.rows)
            ]
        )

    def class_lines(self, distribution: str | None = None) -> list[ClassLine]:
        """Each class's test images and accuracy, with its 95 % Wilson interval, on a distribution.

        Args:
            distribution: its name in the rows; None: the first one's.

        Raises:
            UserError: it was not evaluated.
        """
        names = list(dict.fromkeys(str(row["distribution"]) for row in self.rows))
        chosen = names[0] if distribution is None else distribution
        if chosen not in names:
            raise UserError(f"{chosen}: was not evaluated; there are {', '.join(names)}")
        rows = {row["predictor"]: row for row in self.rows if row["distribution"] == chosen}
        whole = rows[_ENSEMBLE]
        experts = [row["per_class"] for name, row in rows.items() if str(name).startswith("expert ")]
        group_of = {
            label: group
            for group, mask in shot_groups(self.class_counts).items()
            for label, inside in enumerate(mask)
            if inside
        }
        lines = []
        for label, (accuracy, tested) in enumerate(zip(whole["per_class"], whole["per_class_images"], strict=True)):
            low, high = wilson_interval(accuracy, tested) if tested else (0.0, 1.0)
            own = tuple(values[label] if tested else float("nan") for values in experts)
            share = accuracy if tested else float("nan")
            name, trained = self.class_names[label], self.class_counts[label]
            lines.append(ClassLine(label, name, trained, tested, share, low, high, own, group_of[label]))
        return lines

    def classes_figure(self, distribution: str | None = None) -> Figure:
        """Accuracy of the classes from most to fewest training images, with intervals; argument as of `class_lines`."""
        return classes_figure(self.class_lines(distribution))


def compare_shifts(scores: Mapping[str, RunScores]) -> Figure:
    """Accuracy and ECE of the ensembles along the test distributions, a line for each entry, by its name.

    Raises:
        UserError: there is nothing to compare.
    """
    rows = {name: [row for row in found.rows if row["predictor"] == _ENSEMBLE] for name, found in scores.items()}
    if not any(rows.values()):
        raise UserError("there are no scores to draw")
    return shifts_figure(rows)
