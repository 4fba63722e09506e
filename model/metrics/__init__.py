"""The metrics, one registry for training batches, validation, monitor, tables and result files.

A new metric is a file here that lists it in `__all__`: everything else reads `METRICS`. Tables and files have the
metrics in its order, files by name and then as their `__all__` has them.
"""

from __future__ import annotations

from collections.abc import Iterable

from model.metrics.labelled import LabelledLogits
from model.metrics.metric import Metric, SampleMetric, SetMetric, sample_metric, set_metric
from utils.registry import collect

__all__ = [
    "METRICS",
    "PUBLISHED_NAMES",
    "LabelledLogits",
    "Metric",
    "SampleMetric",
    "SetMetric",
    "batch_metrics",
    "sample_metric",
    "set_metric",
]

METRICS: dict[str, Metric] = collect(__name__, __path__)

PUBLISHED_NAMES = {
    **{"many_shot_acc": "many", "medium_shot_acc": "medium", "few_shot_acc": "few"},
    "balanced_acc": "balanced_accuracy",
}
"""What published configurations call a metric → its name here."""


def batch_metrics(names: Iterable[str]) -> dict[str, SampleMetric]:
    """Those of the metrics that batches of training have, in the given order."""
    chosen = {name: METRICS[name] for name in names}
    return {name: metric for name, metric in chosen.items() if isinstance(metric, SampleMetric)}
