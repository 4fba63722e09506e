"""The pictures of a page that compares runs: a colour for each group of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.report.content import ClassLine
from trainer.report.files import Curve
from trainer.report.pictures import COLOURS, MARKERS, class_ticks, panels_below, pooled, pools_of
from utils.reporting.plots import drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def compared_curves_figure(curves: Mapping[str, Mapping[str, Sequence[Curve]]]) -> Figure:
    """A panel for each curve, a line for each run in the colour of its group."""
    colours = {label: COLOURS[place % len(COLOURS)] for place, label in enumerate(_labels(curves))}
    figure, axes = panels_below(len(curves), 2.1)
    for each, (name, groups) in zip(axes, curves.items(), strict=True):
        scale = 100 if name.endswith("accuracy") else 1
        for label, runs in groups.items():
            for number, (epochs, values) in enumerate(runs):
                told = label if number == 0 else None
                each.plot(epochs, scale * np.asarray(values), color=colours[label], linewidth=1.2, label=told)
        each.set_ylabel(drawable(name.replace("val_", "validation ")) + (" %" if scale > 1 else ""), fontsize=9)
        each.locator_params(axis="x", integer=True, min_n_ticks=1)
        each.legend(fontsize=8, frameon=False, ncols=4)
    axes[-1].set_xlabel("epoch", fontsize=9)
    return figure


def comparable_classes(groups: Mapping[str, Sequence[ClassLine]]) -> dict[str, list[ClassLine]]:
    """The classes of each group that have test images; nothing where they aren't as many in each."""
    tested = {label: [line for line in lines if line.tested] for label, lines in groups.items()}
    return tested if len({len(lines) for lines in tested.values()}) == 1 and all(tested.values()) else {}


def compared_classes_figure(tested: Mapping[str, Sequence[ClassLine]]) -> Figure:
    """Accuracy of the classes from most to fewest training images, a line for each group; many classes are pooled.

    Args:
        tested: as of `comparable_classes`, one class and group at least.
    """
    first = next(iter(tested.values()))
    order = np.argsort([-(line.trained or 0) for line in first], kind="stable")
    pools = pools_of(len(first))
    figure, (axes,) = panels_below(1, 3.4)
    for place, (label, lines) in enumerate(tested.items()):
        points = np.array([pooled([lines[order[at]] for at in pool])[:3] for pool in pools]) * 100
        centre, low, high = points.T
        spread = [np.maximum(centre - low, 0), np.maximum(high - centre, 0)]
        look: dict[str, Any] = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        apart = np.arange(len(pools)) + 0.12 * (place - (len(tested) - 1) / 2)
        axes.errorbar(apart, centre, yerr=spread, markersize=4, capsize=2, linewidth=1.2, label=label, **look)
    axes.set_ylabel("accuracy %", fontsize=9)
    axes.set_ylim(-3, 103)
    axes.legend(fontsize=8, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
    class_ticks(axes, [first[at] for at in order], pools)
    return figure


def _labels(curves: Mapping[str, Mapping[str, object]]) -> list[str]:
    return sorted({label for groups in curves.values() for label in groups}, key=lambda label: (len(label), label))
