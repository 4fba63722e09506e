"""The metrics of `model.metrics` that training batches have, as functions of logits [B, C] and targets [B]."""

from model.metrics import METRICS, batch_metrics

__all__ = list(batch_metrics(METRICS))

globals().update({name: metric.of_batch for name, metric in batch_metrics(METRICS).items()})
