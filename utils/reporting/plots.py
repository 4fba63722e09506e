"""Figures, drawn without a screen; each takes finished numbers and returns a matplotlib figure.

scikit-learn's ConfusionMatrixDisplay is not used: it labels every class (3 s a picture for 1,000 classes, 0.1 s here),
needs pyplot's global state, and would still have to be told the limits, the title of the bar and the labels.
"""

from __future__ import annotations

import itertools
import logging
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CLASSES = 1000  # 8,142² cells of a confusion matrix take a gigabyte
_MOST_LABELS = 20
_LONGEST_LABEL = 40
_TITLE_WIDTH = 90
_LINES = ("-", "--", "-.", ":")

logger = logging.getLogger(__name__)


def new_figure(**options: Any) -> Figure:
    """An empty figure, its parts kept from overlapping; options as of matplotlib's `Figure`."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes a second, and many a run draws nothing

    return Figure(layout="constrained", **options)


def confusion_figure(confusion: Callable[[], np.ndarray], class_names: Sequence[str]) -> Figure | None:
    """A confusion matrix as a picture; None, with a line in the log, above 1,000 classes.

    Args:
        confusion: returns the matrix, shape [C, C]: rows are true classes and sum to 1 (or to 0 for a class without
            images). It is called only where the picture is drawn.
        class_names: length C; shown where there are at most twenty.
    """
    if len(class_names) > _MOST_CLASSES:
        logger.info("No picture of the confusion matrix: %d classes are more than can be seen.", len(class_names))
        return None
    figure = new_figure(figsize=(6.5, 5.5))
    axes = figure.add_subplot()
    picture = axes.imshow(confusion(), vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    figure.colorbar(picture, ax=axes, label="share of the true class")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if len(class_names) <= _MOST_LABELS:
        labels = [drawable(name) for name in class_names]
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.set_yticks(range(len(labels)), labels)
    return figure


def drawable(name: str) -> str:
    """A name as matplotlib can draw it: cut to 40 letters, bytes that are no UTF-8 written out, `$` no formula."""
    cut = name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 1]}…"
    return cut.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def curves_figure(
    edges: Sequence[float], curves: Mapping[str, Sequence[float]], *, title: str, horizontal: str, vertical: str
) -> Figure:
    """Values of consecutive intervals as steps.

    Args:
        edges: of the n intervals, length n + 1, rising.
        curves: what a curve is called → its n values.
        title: of the picture.
        horizontal: what the edges are.
        vertical: what the values are.
    """
    figure = new_figure(figsize=(8, 4.5))
    axes = figure.add_subplot()
    for (name, values), line in zip(curves.items(), itertools.cycle(_LINES)):
        axes.stairs(values, edges, baseline=None, label=drawable(name), linewidth=2, linestyle=line)
    axes.set_title(textwrap.fill(title.replace("$", r"\$"), _TITLE_WIDTH), fontsize="medium")
    axes.set_xlabel(horizontal)
    axes.set_ylabel(vertical)
    axes.set_xlim(edges[0], edges[-1])
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
