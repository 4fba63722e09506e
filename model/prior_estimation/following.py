"""The prior of a stream of unlabelled images, estimated anew with each batch: what each batch is to be corrected to.

A batch is predicted with what the images before it say, and its own images without their labels; never with later ones.

Shapes: `N` images in the order in which they arrive, in `T` batches of `B` (the last may be smaller), `C` classes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.prior_estimation.checks import Floats, checked_prior
from model.prior_estimation.streams import FollowLeadingHistory

WINDOW = 200.0
_FORGOTTEN = 5.0  # windows; what counts less than exp(−5) is left out
_FIRST_IMAGES = 20.0

Estimate = Callable[[NDArray[np.floating], Floats], Floats]
"""(logits [n, C], how often each image counts [n]) → their prior [C]."""

Follower = Callable[[NDArray[np.floating], int, Estimate, ArrayLike], Floats]
"""(logits [N, C], B, the estimate of some images, the prior before the first) → the prior of each batch [T, C]."""


def batches(size: int, batch_size: int) -> list[slice]:
    """N images as T batches.

    Raises:
        ValueError: a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"the batch size must be at least 1, not {batch_size}")
    return [slice(start, min(start + batch_size, size)) for start in range(0, size, batch_size)]


def follow_by_window(
    logits: NDArray[np.floating],
    batch_size: int,
    estimate: Estimate,
    first_prior: ArrayLike,
    *,
    window: float = WINDOW,
) -> Floats:
    """One estimate of all recent images together, an image counting exp(−age / window).

    Estimating from many images beats a mean of the batches' estimates, which are biased where batches are small. The
    age is that of an image's batch, in images. The first prior counts as twenty images before the first one, so that a
    few images don't say everything.

    Args:
        logits: [N, C].
        batch_size: B.
        estimate: of a weighted set of images.
        first_prior: [C], what is expected before the first batch.
        window: images that count together in the long run; after a jump, what was before it counts exp(−n / window)
            after n images.

    Returns:
        The prior of each batch, [T, C].

    Raises:
        ValueError: a batch size below 1, a window that is not positive, a prior that is none.
    """
    if not window > 0:
        raise ValueError(f"the window must be above 0, not {window}")
    expected = checked_prior("first_prior", first_prior, logits.shape[1])
    priors = []
    for batch in batches(len(logits), batch_size):
        oldest = max(0, batch.start - int(np.ceil(_FORGOTTEN * window / batch_size)) * batch_size)
        ages = batch.start - np.arange(oldest, batch.stop) // batch_size * batch_size
        weights = np.exp(-ages / window)
        share_of_first = _FIRST_IMAGES * np.exp(-batch.start / window)
        seen = estimate(logits[oldest : batch.stop], weights)
        priors.append((weights.sum() * seen + share_of_first * expected) / (weights.sum() + share_of_first))
    return np.stack(priors)


def follow_leading_history(
    logits: NDArray[np.floating],
    batch_size: int,
    estimate: Estimate,
    first_prior: ArrayLike,
    *,
    rate: float | None = None,
) -> Floats:
    """Means of the batches' own estimates over histories of every length: see `FollowLeadingHistory`.

    Arguments as of `follow_by_window`; `rate` is η, 1/C by default. The published algorithm predicts the next batch
    with what is returned here for the one before it.
    """
    history = FollowLeadingHistory(checked_prior("first_prior", first_prior, logits.shape[1]), rate=rate)
    whole = batches(len(logits), batch_size)
    return np.stack([history.update(estimate(logits[batch], np.ones(batch.stop - batch.start))) for batch in whole])


FOLLOWERS: dict[str, Follower] = {"window": follow_by_window, "flh": follow_leading_history}
