"""Figures, drawn without a screen; each takes finished numbers and returns a matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

_MOST_LABELS = 20


def confusion_figure(confusion: np.ndarray, class_names: Sequence[str]) -> Figure:
    """A confusion matrix as a picture.

    Args:
        confusion: rows are true classes and sum to 1 (or to 0 for a class without images), shape [C, C].
        class_names: length C; shown where there are at most twenty.
    """
    figure = Figure(figsize=(6.5, 5.5), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(confusion, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    figure.colorbar(picture, ax=axes, label="share of the true class")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if len(class_names) <= _MOST_LABELS:
        axes.set_xticks(range(len(class_names)), class_names, rotation=90)
        axes.set_yticks(range(len(class_names)), class_names)
    return figure
