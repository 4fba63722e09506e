"""What is logged of the validation split, and under which names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from model.metrics import METRICS, LabelledLogits, SampleMetric, batch_metrics
from trainer.evaluation.aggregations.mean import mean_of_experts

_ALWAYS = {"val_loss": "nll", "val_balanced_accuracy": "balanced_accuracy"}


def validation_scores(
    logits: np.ndarray, targets: np.ndarray, class_counts: Sequence[int], names: Iterable[str]
) -> dict[str, float]:
    """Scores of the ensemble: cross-entropy, balanced accuracy, and the metrics that the configuration names.

    Args:
        logits: each expert's, [N, E, C].
        targets: labels, [N].
        class_counts: training images of each class, length C.
        names: of `model.metrics.METRICS`.

    Returns:
        val_loss, val_balanced_accuracy, and `val_` + each name.
    """
    labelled = LabelledLogits(mean_of_experts(logits), targets, np.asarray(class_counts))
    scores = {logged: METRICS[name].of_set(labelled) for logged, name in _ALWAYS.items()}
    for name in names:
        metric = METRICS[name]
        # a metric that training batches have is taken of the split as of one batch, so that the two curves compare
        of_split = metric.of_batch(*labelled.tensors) if isinstance(metric, SampleMetric) else metric.of_set(labelled)
        scores[f"val_{name}"] = float(of_split)
    return scores


def logged_names(names: Sequence[str]) -> list[str]:
    """Everything that an epoch's log has and `trainer.monitor` may name.

    Args:
        names: the metrics that the configuration names.
    """
    return ["loss", *batch_metrics(names), *_ALWAYS, *(f"val_{name}" for name in names)]
