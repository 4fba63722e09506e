"""What a list holds: images a class, imbalance ratio, the groups many, medium and few; as a table and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from utils.reporting.tables import NOTHING, table
from utils.shot_groups import FEW_BELOW, MANY_ABOVE, shot_groups


@dataclass(frozen=True, eq=False)
class ListStatistics:
    """Statistics of the images of each class.

    Args:
        class_counts: images of each class, shape [C].
    """

    class_counts: np.ndarray

    @property
    def imbalance_ratio(self) -> float | None:
        """Images of the largest class to those of the smallest; None where a class has none."""
        smallest = int(self.class_counts.min())
        return int(self.class_counts.max()) / smallest if smallest else None


def statistics_table(lists: Mapping[str, ListStatistics]) -> str:
    """One row a list: images, classes, largest, smallest, ratio, and how many classes are in each group."""
    header = ["list", "images", "classes", "empty", "largest", "median", "smallest", "ratio", "many", "medium", "few"]
    rows = []
    for name, statistics in lists.items():
        counts, ratio = statistics.class_counts, statistics.imbalance_ratio
        groups = [f"{int(mask.sum())}" for mask in shot_groups(counts).values()]
        numbers = (counts.sum(), len(counts), (counts == 0).sum(), counts.max(), int(np.median(counts)), counts.min())
        rows.append([name, *(f"{number}" for number in numbers), NOTHING if ratio is None else f"{ratio:.1f}", *groups])
    return table(header, rows)


def statistics_figure(lists: Mapping[str, ListStatistics]) -> Figure:
    """Images a class, classes sorted by size, one curve a list; the groups' borders are dotted."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, statistics in lists.items():
        axes.plot(np.sort(statistics.class_counts)[::-1], label=name, drawstyle="steps-mid")
    for border in (MANY_ABOVE, FEW_BELOW):
        axes.axhline(border, color="grey", linestyle=":", linewidth=1)
    axes.set_yscale("symlog", linthresh=1)  # logarithmic, with a place for empty classes
    axes.set_ylim(bottom=0)
    axes.set_xlabel("class, by size")
    axes.set_ylabel("images")
    axes.legend()
    return figure
