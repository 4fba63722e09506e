"""What an evaluation means, in words: which classes are weak, how sure that is, and what would help.

Shapes: `N` test images, `C` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from model.intervals import trials_needed, wilson_interval
from model.scores import confusion_matrix

_CLEAR = 0.1  # below the classes' mean: what is worth a word
_MARGIN = 0.1  # what an accuracy should be known to
_SHOWN = 10


def verdict(
    names: Sequence[str],
    trained: Sequence[int],
    predicted: np.ndarray,
    targets: np.ndarray,
    *,
    tested_part: float = 0.0,
) -> list[str]:
    """Lines for a reader who has seen the tables.

    Args:
        names: of the classes, length C.
        trained: training images of each class, length C.
        predicted: classes, [N].
        targets: labels, [N], one at least.
        tested_part: of each class's images that were held out for the test; 0: the test images were given.
    """
    num_classes = len(names)
    confusion = confusion_matrix(predicted, targets, num_classes)
    tested, right = confusion.sum(axis=1), confusion.diagonal()
    accuracy = np.divide(right, tested, out=np.full(num_classes, np.nan), where=tested > 0)
    mean = float(np.nanmean(accuracy))
    by_accuracy = np.argsort(accuracy, kind="stable").tolist()
    below = [label for label in by_accuracy if tested[label] and accuracy[label] < mean]
    sure = [label for label in below if wilson_interval(float(accuracy[label]), int(tested[label]))[1] < mean]
    maybe = [label for label in below if label not in sure and accuracy[label] < mean - _CLEAR]

    def told(label: int) -> str:
        taken = confusion[label].copy()
        taken[label] = 0
        other = int(taken.argmax())
        confused = f"; taken for {names[other]} {_times(int(taken[other]))}" if taken.any() else ""
        shown = _share(int(right[label]), int(tested[label]))
        images = f"{trained[label]:,} training image{'s' * (trained[label] != 1)}"
        return f"  {names[label]}: {shown}{confused}; {images}"

    total, hits = int(tested.sum()), int(right.sum())
    lines = [
        f"In words: {_share(hits, total)}. With every class counting equally: {100 * mean:.0f} % (guessing: "
        f"{100 / num_classes:.0f} %)."
    ]
    lines += _group("Weak, and surely below that mean", sure, told)
    lines += _group("Perhaps weak; too few test images to be sure", maybe, told)
    if not (sure or maybe):
        lines.append("No class stands out as weak.")
    if untested := [names[label] for label in np.flatnonzero(tested == 0).tolist()]:
        lines.append(f"Not known, without a test image: {_named(untested)}.")
    return [*lines, *_help(names, np.asarray(trained), tested, [*sure, *maybe], tested_part)]


def _help(
    names: Sequence[str], trained: np.ndarray, tested: np.ndarray, weak: Sequence[int], tested_part: float
) -> list[str]:
    """What would make weak classes better, and what would make sure of it."""
    median = int(np.median(trained))
    rare = [f"{names[label]} ({trained[label]:,})" for label in weak if trained[label] < median]
    enough = [names[label] for label in weak if trained[label] >= median]
    lines = ["What would help:"]
    if rare:
        lines.append(f"  more training images of {_named(rare)}: half of the classes have {median:,} or more")
    if enough:
        lines.append(
            f"  {_named(enough)}: as many training images as others; look for wrong labels and for details that "
            "data_loader.args.image_size leaves too small"
        )
    needed = trials_needed(_MARGIN)
    short = int((tested < needed).sum())
    if short:
        in_all = f" ({needed / tested_part:,.0f} in all, of which {tested_part:.0%} are tested)" if tested_part else ""
        lines.append(
            f"  more test images: to know the accuracy of a class to ±{100 * _MARGIN:.0f} points takes {needed} of "
            f"it{in_all}; {short} of {len(names)} classes have fewer ({tested.min()} to {tested.max()})"
        )
    return lines if len(lines) > 1 else []


def _group(title: str, labels: Sequence[int], told: Callable[[int], str]) -> list[str]:
    if not labels:
        return []
    more = [f"  … and {len(labels) - _SHOWN} more"] if len(labels) > _SHOWN else []
    return [f"{title}:", *(told(label) for label in labels[:_SHOWN]), *more]


def _share(right: int, count: int) -> str:
    low, high = wilson_interval(right / count, count)
    return (
        f"{right:,} of {count:,} test image{'s' * (count != 1)} right ({100 * right / count:.0f} %, 95 % within "
        f"{100 * low:.0f} … {100 * high:.0f} %)"
    )


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def _named(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_SHOWN])}{', …' * (len(names) > _SHOWN)}"
