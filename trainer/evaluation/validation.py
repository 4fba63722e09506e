"""What is logged of the validation split, and under which names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from model.metrics import METRICS, PUBLISHED_NAMES, LabelledLogits, SampleMetric, batch_metrics
from trainer.evaluation.aggregations.mean import mean_of_experts

_ALWAYS = {"loss": "nll", "balanced_accuracy": "balanced_accuracy"}
_CURVES = {"groups/many": "many", "groups/medium": "medium", "groups/few": "few", "calibration/ece": "ece"}


def validation_scores(
    logits: np.ndarray, targets: np.ndarray, class_counts: Sequence[int], names: Iterable[str], *, weights: str = "raw"
) -> dict[str, float]:
    """Scores of the ensemble: cross-entropy, balanced accuracy, and the metrics that the configuration names.

    Args:
        logits: each expert's, [N, E, C].
        targets: labels, [N].
        class_counts: training images of each class, length C.
        names: of `model.metrics.METRICS`.
        weights: which of the method's networks has given the logits.

    Returns:
        val_loss, val_balanced_accuracy, and `val_` + each name; of averaged weights val_averaged_loss and so on.
    """
    labelled = LabelledLogits(mean_of_experts(logits), targets, np.asarray(class_counts))
    prefix = _prefix(weights)
    scores = {f"{prefix}{logged}": METRICS[name].of_set(labelled) for logged, name in _ALWAYS.items()}
    for name in names:
        metric = METRICS[name]
        # a metric that training batches have is taken of the split as of one batch, so that the two curves compare
        of_split = metric.of_batch(*labelled.tensors) if isinstance(metric, SampleMetric) else metric.of_set(labelled)
        scores[f"{prefix}{name}"] = float(of_split)
    return scores


def validation_curves(logits: np.ndarray, targets: np.ndarray, class_counts: Sequence[int]) -> dict[str, float]:
    """What is drawn of the ensemble beside its scores: accuracy of many, medium and few, and how far confidence is off.

    Args:
        logits: each expert's, [N, E, C].
        targets: labels, [N].
        class_counts: training images of each class, length C.

    Returns:
        "groups/many", "groups/medium", "groups/few" and "calibration/ece", in 0 … 1; without groups that have no class;
        nothing of logits that are no finite numbers: the training has diverged, which others tell.
    """
    if not np.isfinite(logits).all():
        return {}
    labelled = LabelledLogits(mean_of_experts(logits), targets, np.asarray(class_counts))
    curves = {drawn: float(METRICS[name].of_set(labelled)) for drawn, name in _CURVES.items()}
    return {drawn: value for drawn, value in curves.items() if not np.isnan(value)}


def logged_names(names: Sequence[str], weights: Iterable[str] = ("raw",)) -> list[str]:
    """Everything that an epoch's log has and `trainer.monitor` may name.

    Args:
        names: the metrics that the configuration names.
        weights: names of the method's networks.
    """
    validated = [f"{_prefix(each)}{name}" for each in weights for name in (*_ALWAYS, *names)]
    return ["loss", *batch_metrics(names), *dict.fromkeys(validated)]


def split_published_name(monitor: str) -> tuple[str, str]:
    """A monitor of a published name, in two: "max val_few_shot_acc" → ("max val_", "few"); any other → (it, "").

    The training batches have none of these, so that val_ may be left out.
    """
    for published, name in PUBLISHED_NAMES.items():
        prefix = monitor.removesuffix(published)
        if prefix != monitor and prefix.endswith((" ", "_")):
            return prefix.rstrip(" ") + " val_" if prefix.endswith(" ") else prefix, name
    return monitor, ""


def _prefix(weights: str) -> str:
    return "val_" if weights == "raw" else f"val_{weights}_"
