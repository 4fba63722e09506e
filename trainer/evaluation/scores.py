"""What a row of results has of a predictor on a test set: every metric, by class, by group, and how sure it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from model.metric_intervals import bootstrap_intervals
from model.metrics import METRICS, LabelledLogits
from utils.shot_groups import shot_groups

OF_GROUPS = ("accuracy", "ece", "nll", "brier", "overconfidence", "underconfidence")
"""The metrics that a group's images have for themselves."""


def scores_of(labelled: LabelledLogits, *, intervals: bool = False) -> dict[str, Any]:
    """The scores of one test set.

    Args:
        labelled: its logits and labels, with the training counts where they are known.
        intervals: whether each metric has a 95 % bootstrap interval, see `model.metric_intervals`.

    Returns:
        every metric of `model.metrics.METRICS` by its name; `per_class`, the class accuracies [C]; `per_class_images`,
        the images that they are of; `groups`, where the training counts are known, see `group_scores`; and `intervals`,
        [low, high] by a metric's name. What is not defined (an empty group or class) is nan.
    """
    scores: dict[str, Any] = {name: metric.of_set(labelled) for name, metric in METRICS.items()}
    scores["per_class"] = labelled.class_accuracies.tolist()
    scores["per_class_images"] = np.bincount(labelled.targets, minlength=labelled.num_classes).tolist()
    if labelled.class_counts is not None:
        scores["groups"] = group_scores(labelled)
    if intervals:
        scores["intervals"] = {name: list(ends) for name, ends in bootstrap_intervals(labelled, METRICS).items()}
    return scores


def group_scores(labelled: LabelledLogits) -> dict[str, dict[str, Any]]:
    """Many, medium and few: classes, images (of the test set whose label is one of them) and metrics of these images.

    Every image counts alike, whereas the metrics `many`, `medium` and `few` are means of class accuracies. Without
    images they are nan.
    """
    assert labelled.class_counts is not None, "the groups follow from the training counts"
    groups: dict[str, dict[str, Any]] = {}
    for name, classes in shot_groups(labelled.class_counts).items():
        images = np.flatnonzero(classes[labelled.targets])
        group = labelled.selected(images) if len(images) else None
        metrics = {metric: METRICS[metric].of_set(group) if group else float("nan") for metric in OF_GROUPS}
        groups[name] = {"classes": int(classes.sum()), "images": len(images), **metrics}
    return groups
