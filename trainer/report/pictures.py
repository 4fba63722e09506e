"""The pictures of a report, each from finished numbers; drawn so wide that a phone shows them at their full size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from model.intervals import wilson_interval
from trainer.report.content import ClassLine, Content
from trainer.report.files import Curve
from trainer.report.reliability import Reliability
from utils.reporting.plots import drawable, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by colour-blind people; markers differ besides
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_WIDTH = 4.0  # inches; 358 pixels wide, as on a phone, 9 points of type are 11 pixels
_MOST_POINTS = 40
_LONGEST_NAME = 14


def panels_below(panels: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of panels below one another, each so many inches high."""
    figure = new_figure(figsize=(_WIDTH, height * panels))
    axes = [figure.add_subplot(panels, 1, place + 1) for place in range(panels)]
    for each in axes:
        each.grid(color="#dddddd", linewidth=0.6)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(labelsize=9)
    return figure, axes


def curves_by_panel(curves: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """A run's curves as `curves_figure` shows them: loss, accuracies and learning rate, as far as there are any."""
    families = {"loss": "loss", "accuracy %": "accuracy", "learning rate": "lr"}
    panels = {
        title: {
            name: curve
            for name, curve in curves.items()
            if (name == key or name.endswith(f"_{key}")) and not name.startswith("expert")
        }
        for title, key in families.items()
    }
    return {title: shown for title, shown in panels.items() if shown}


def curves_figure(panels: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """Curves over the epochs, a panel for each title."""
    figure, axes = panels_below(len(panels), 2.1)
    for each, (title, curves) in zip(axes, panels.items(), strict=True):
        for place, (name, (epochs, values)) in enumerate(curves.items()):
            scaled = np.asarray(values) * (100 if title.endswith("%") else 1)
            colour, style = COLOURS[place % len(COLOURS)], ("-", "--", ":", "-.")[place // len(COLOURS) % 4]
            each.plot(epochs, scaled, style, color=colour, linewidth=1.4, label=drawable(name))
        each.set_ylabel(title, fontsize=9)
        each.locator_params(axis="x", integer=True, min_n_ticks=1)
        if len(curves) > 1:
            each.legend(fontsize=8, frameon=False)
    axes[-1].set_xlabel("epoch", fontsize=9)
    return figure


def shifts_figure(series: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Accuracy and ECE along the test distributions, a line for each prior (or run)."""
    names = list(dict.fromkeys(str(row["distribution"]) for rows in series.values() for row in rows))
    figure, axes = panels_below(2, 2.2)
    for each, (metric, title) in zip(axes, (("accuracy", "accuracy %"), ("ece", "ECE %")), strict=True):
        for place, (label, rows) in enumerate(series.items()):
            found = {str(row["distribution"]): row.get(metric) for row in rows}
            values = [math.nan if found.get(name) is None else 100 * float(found[name] or 0) for name in names]
            look: dict[str, Any] = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
            each.plot(range(len(names)), values, markersize=4, linewidth=1.4, label=drawable(label), **look)
        each.set_ylabel(title, fontsize=9)
        each.set_xticks(range(len(names)), [""] * len(names))
    axes[0].legend(fontsize=8, frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    axes[1].set_ylim(bottom=0)
    axes[1].set_xticks(range(len(names)), [drawable(_short(name, 22)) for name in names], rotation=60, ha="right")
    return figure


def classes_figure(lines: Sequence[ClassLine]) -> Figure:
    """Accuracy of the classes from most to fewest training images, with 95 % intervals; many classes are pooled.

    Above forty classes a point is of neighbours in this order, and its interval of all their test images. Classes
    without test images are left out; one must have some.
    """
    tested = sorted((line for line in lines if line.tested), key=lambda line: -(line.trained or 0))
    pools = pools_of(len(tested))
    points = [pooled([tested[place] for place in pool]) for pool in pools]
    figure, (axes,) = panels_below(1, 3.4)
    centre, low, high = (100 * np.asarray(values) for values in zip(*(point[:3] for point in points), strict=True))
    places = np.arange(len(points))
    spread = [np.maximum(centre - low, 0), np.maximum(high - centre, 0)]
    bars: dict[str, Any] = {
        "color": COLOURS[0],
        "marker": "o",
        "markersize": 4,
        "capsize": 2,
        "linewidth": 1.4,
        "elinewidth": 1,
    }
    axes.errorbar(places, centre, yerr=spread, label="ensemble, 95 % interval", zorder=3, **bars)
    for expert in range(len(tested[0].experts)):
        values = [100 * point[3][expert] for point in points]
        look: dict[str, Any] = {"color": COLOURS[expert % 6 + 1], "marker": MARKERS[expert % 6 + 1]}
        axes.plot(places, values, markersize=3, linewidth=0.9, linestyle="--", label=f"expert {expert}", **look)
    axes.set_ylabel("accuracy %", fontsize=9)
    axes.set_ylim(-3, 103)
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    class_ticks(axes, tested, pools)
    return figure


def class_ticks(axes: Axes, tested: Sequence[ClassLine], pools: Sequence[Sequence[int]]) -> None:
    """Name the classes where they are few, else their training images; `tested` in the order of the picture."""
    if len(tested) <= 20:
        labels = [_class_label(line) for line in tested]
        axes.set_xticks(range(len(tested)), labels, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_xlabel("class (training images)", fontsize=9)
    else:
        ticks = np.unique(np.linspace(0, len(pools) - 1, 8).round().astype(int))
        counts = [tested[pools[tick][0]].trained for tick in ticks]
        axes.set_xticks(ticks, ["?" if count is None else f"{count:,}" for count in counts], rotation=45)
        axes.set_xlabel("classes by training images", fontsize=9)


def pools_of(classes: int) -> list[list[int]]:
    """Places of the classes that make a point, neighbours where there are more than forty."""
    return [pool.tolist() for pool in np.array_split(np.arange(classes), min(classes, _MOST_POINTS))]


def pooled(lines: Sequence[ClassLine]) -> tuple[float, float, float, list[float]]:
    """Share of some classes' test images, its 95 % interval, and the experts' shares."""
    images = np.array([line.tested for line in lines])
    share = float(np.average([line.accuracy for line in lines], weights=images))
    low, high = wilson_interval(min(max(share, 0.0), 1.0), int(images.sum()))
    experts = [
        float(np.average(values, weights=images)) for values in zip(*(line.experts for line in lines), strict=True)
    ]
    return share, low, high, experts


def _class_label(line: ClassLine) -> str:
    return drawable(_short(line.name, _LONGEST_NAME)) + ("" if line.trained is None else f" ({line.trained})")


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def reliability_figure(diagrams: Sequence[Reliability]) -> Figure:
    """Accuracy over confidence, a panel for each group and distribution."""
    rows = -(-len(diagrams) // 2)
    figure = new_figure(figsize=(_WIDTH, 2.15 * rows))
    for place, diagram in enumerate(diagrams):
        axes = figure.add_subplot(rows, 2, place + 1)
        filled = diagram.bins.counts > 0
        confidences, accuracies = diagram.bins.confidences[filled], diagram.bins.accuracies[filled]
        axes.plot([0, 100], [0, 100], color="#767676", linewidth=0.8, linestyle=":")
        sizes = 8 + 90 * diagram.bins.counts[filled] / diagram.images
        axes.plot(100 * confidences, 100 * accuracies, color=COLOURS[0], linewidth=1)
        axes.scatter(100 * confidences, 100 * accuracies, s=sizes, color=COLOURS[0], zorder=3, clip_on=False)
        axes.set_title(f"{diagram.title}\n{diagram.images:,} images, ECE {100 * diagram.ece:.1f} %", fontsize=8)
        axes.set_xlim(-3, 103)
        axes.set_ylim(-3, 103)
        axes.set_xticks([0, 50, 100])
        axes.set_yticks([0, 50, 100])
        axes.tick_params(labelsize=8)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("confidence %", fontsize=9)
    figure.supylabel("accuracy %", fontsize=9)
    return figure


def shift_series(content: Content) -> dict[str, list[Mapping[str, Any]]]:
    """A run's sweep rows of the ensemble, by what was assumed of the prior: "no prior" first, then by name.

    So a line keeps its colour whichever sweep was the last.
    """
    series: dict[str, list[Mapping[str, Any]]] = {}
    for row in content.rows:
        if row.get("protocol") == "shifts" and row.get("predictor") == "ensemble":
            calibration = row.get("calibration") or "none"
            label = "no prior" if row.get("prior") == "none" else f"prior: {row.get('prior')}"
            series.setdefault(label + ("" if calibration == "none" else f", {calibration}"), []).append(row)
    return dict(sorted(series.items(), key=lambda item: (not item[0].startswith("no prior"), item[0])))
