"""Accuracies: of samples, of classes, and of the classes with many, medium and few training images.

Shapes: `B` batch, `C` classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.metrics.metric import LabelledLogits, sample_metric, set_metric
from model.scores import class_f1_scores, mean_of_present

# in the order of the tables' columns
__all__ = ["accuracy", "top_k_acc", "balanced_accuracy", "macro_f1", "many", "medium", "few"]  # noqa: RUF022

_K = 5


@sample_metric("top-1")
def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Whether the largest of logits [B, C] is at `target` [B]."""
    return output.argmax(dim=1) == target


@sample_metric(f"top-{_K}")
def top_k_acc(output: Tensor, target: Tensor) -> Tensor:
    """Whether `target` [B] is among the five largest of logits [B, C] (among all, with fewer classes).

    Of equal logits the first class comes first, as for top-1. To count what is larger is faster than to sort.
    """
    own = output.gather(1, target.unsqueeze(1))  # [B, 1]
    classes = torch.arange(output.size(1), device=output.device)
    before = (output > own) | ((output == own) & (classes < target.unsqueeze(1)))  # [B, C]
    return before.sum(dim=1) < _K


@set_metric("balanced")
def balanced_accuracy(labelled: LabelledLogits) -> float:
    """Mean of the class accuracies over the classes that have samples."""
    return mean_of_present(labelled.class_accuracies)


@set_metric("macro-F1", in_table=False)
def macro_f1(labelled: LabelledLogits) -> float:
    """Mean of the class F1 scores over the classes that have samples."""
    return mean_of_present(class_f1_scores(labelled.predictions, labelled.targets, labelled.num_classes))


@set_metric("many")
def many(labelled: LabelledLogits) -> float:
    """Mean of the class accuracies over classes with more than 100 training images."""
    return labelled.group_accuracies["many"]


@set_metric("medium")
def medium(labelled: LabelledLogits) -> float:
    """The same over classes with 20 to 100 training images."""
    return labelled.group_accuracies["medium"]


@set_metric("few")
def few(labelled: LabelledLogits) -> float:
    """The same over classes with fewer than 20 training images."""
    return labelled.group_accuracies["few"]
