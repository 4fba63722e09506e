"""Arrays that anybody gives, checked and brought into one form: one ValueError of one line for each mistake.

`N` images, `E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.prior_estimation import HeldOut
from model.prior_estimation.checks import checked_prior

Kind = Literal["logits", "probabilities"]

SMALLEST_PROBABILITY = 1e-12
"""Smaller ones, zeros among them, count as this: their logarithms stay finite."""
LARGEST_LOGIT = 1e30
"""Differences and sums of larger ones may be no finite numbers."""
SUM_TOLERANCE = 1e-3
"""How far the probabilities of an image may be from the sum 1."""


def as_logits(outputs: ArrayLike, kind: Kind) -> NDArray[np.floating]:
    """Logits or log-probabilities [N, E, C], float32 or float64, from [N, C] or [N, E, C].

    Raises:
        ValueError: another shape, no images, fewer than two classes, no finite numbers, or no probabilities;
            a kind that there is not.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind is {kind!r}: give {' or '.join(map(repr, get_args(Kind)))}")
    values = np.asarray(outputs)
    if values.ndim not in (2, 3):
        raise ValueError(
            f"expected the shape [images, classes] or [images, experts, classes], not {list(values.shape)}"
        )
    if values.dtype.kind not in "iuf":
        raise ValueError(f"expected numbers, not {'text' if values.dtype.kind == 'U' else values.dtype}")
    if 0 in values.shape or values.shape[-1] == 1:
        raise ValueError(f"expected an image and two classes at least, not the shape {list(values.shape)}")
    is_short = values.dtype.kind == "f" and values.dtype.itemsize <= 4
    values = values.astype(np.float32 if is_short else np.float64, copy=False)
    _refuse_where(~np.isfinite(values), values, "is no finite number")
    _refuse_where(np.abs(values) > LARGEST_LOGIT, values, f"is too large; logits lie within ±{LARGEST_LOGIT:g}")
    if kind == "probabilities":
        _check_probabilities(values)
        values = np.log(np.maximum(values, SMALLEST_PROBABILITY))
    return values if values.ndim == 3 else values[:, np.newaxis]  # [N, C] → [N, 1, C]


def look_like_probabilities(logits: NDArray[np.floating]) -> bool:
    """Whether numbers [N, E, C] that are called logits could all be probabilities."""
    return bool(logits.min() >= 0 and (np.abs(logits.sum(axis=-1, dtype=np.float64) - 1) <= SUM_TOLERANCE).all())


def as_labels(labels: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Class indices int64 [N] for logits of a shape [N, E, C]; whole numbers in floating point are taken.

    Raises:
        ValueError: another number of labels, or one that is no class.
    """
    values, (images, _, classes) = np.asarray(labels), shape
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]  # a column
    if values.ndim != 1:
        raise ValueError(f"expected one label an image, the shape [{images}], not {list(values.shape)}")
    if len(values) != images:
        raise ValueError(f"{len(values)} labels for {images} images")
    if values.dtype.kind not in "iuf":
        raise ValueError(f"expected class indices, not {'text' if values.dtype.kind == 'U' else values.dtype}")
    wrong = ~((values >= 0) & (values < classes) & (values == np.trunc(values)))
    _refuse_where(wrong, values, f"is no class; the labels are 0 … {classes - 1}")
    return values.astype(np.int64)


def as_held_out(held_out: tuple[ArrayLike, ArrayLike] | None, kind: Kind, shape: tuple[int, ...]) -> HeldOut | None:
    """Logits [M, E, C] and labels [M] of held-out images, for test logits of a shape [N, E, C]; None: there are none.

    Raises:
        ValueError: what `as_logits` and `as_labels` say; other experts or classes than the test images have.
    """
    if held_out is None:
        return None
    logits = as_logits(held_out[0], kind)
    if logits.shape[1:] != shape[1:]:
        ours, theirs = ([f"{experts} experts", f"{classes} classes"] for _, experts, classes in (logits.shape, shape))
        raise ValueError(f"held-out images have {' and '.join(ours)}, the test images {' and '.join(theirs)}")
    return HeldOut(logits, as_labels(held_out[1], logits.shape))


def as_class_counts(counts: ArrayLike | None, classes: int) -> list[int] | None:
    """Training images of each of C classes; None where they are unknown.

    Raises:
        ValueError: another number of classes, no whole numbers, or no images at all.
    """
    if counts is None:
        return None
    values = np.asarray(counts)
    if values.shape != (classes,):
        raise ValueError(f"training counts need the shape [{classes}], one for each class, not {list(values.shape)}")
    if values.dtype.kind not in "iuf" or not (np.isfinite(values) & (values >= 0) & (values == np.trunc(values))).all():
        raise ValueError("training counts must be whole numbers, at least 0")
    if not values.any():
        raise ValueError("training counts are all 0")
    return [int(value) for value in values]


def as_home_priors(
    home: str | ArrayLike, shape: tuple[int, ...], training_counts: Sequence[int] | None
) -> NDArray[np.float64]:
    """The class prior that the ensemble [1, C] or each expert [E, C] is right under, for logits of a shape [N, E, C].

    Args:
        home: "uniform"; "train", the frequencies of `training_counts`; or frequencies [C] or [E, C].
        shape: of the logits.
        training_counts: length C; None: unknown.

    Raises:
        ValueError: another word, other numbers, or "train" without training counts.
    """
    _, experts, classes = shape
    if isinstance(home, str):
        if home not in ("uniform", "train"):
            raise ValueError(f"home is {home!r}: give 'uniform', 'train' or an array of class frequencies")
        if home == "train" and training_counts is None:
            raise ValueError("the home prior is that of the training images, and their counts are not known")
        given = np.ones(classes) if home == "uniform" else np.asarray(training_counts)
    else:
        given = np.asarray(home)
    if given.ndim == 2 and len(given) not in (1, experts):
        raise ValueError(f"{len(given)} home priors for {experts} experts: give one for each, or the ensemble's alone")
    return np.stack([checked_prior("the home prior", row, classes) for row in np.atleast_2d(given)])


def _check_probabilities(values: NDArray[np.floating]) -> None:
    hint = "; are these logits?"
    _refuse_where(values < 0, values, f"is no probability{hint}")
    sums = values.sum(axis=-1, dtype=np.float64)
    _refuse_where(
        np.abs(sums - 1) > SUM_TOLERANCE, sums, f"is the sum of the probabilities, not 1 within {SUM_TOLERANCE}{hint}"
    )


def _refuse_where(wrong: NDArray[np.bool_], values: NDArray[np.generic], why: str) -> None:
    """A ValueError on the first of the values [N, …] that is wrong."""
    if wrong.any():
        place = tuple(int(index) for index in np.argwhere(wrong)[0])
        raise ValueError(f"image {place[0]} (counted from 0): {values[place]:g} {why}")
