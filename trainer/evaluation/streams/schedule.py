"""Which test images arrive when, and what the true prior is at that time.

`N` images of the test split, `M` that arrive, `D` distributions, `C` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.distributions import Distribution
from utils.random_streams import Stream, generator

Change = Literal["abrupt", "slow"]
"""One distribution after the other; or the share of each falls linearly while that of the next rises."""

_SEED = 1
_ARROWS = {"abrupt": " → ", "slow": " ⇝ "}


@dataclass(frozen=True, eq=False)
class StreamSchedule:
    """The images of a stream.

    Args:
        name: in the results' column `distribution`.
        batch_size: B.
        indices: of the test split's images, in the order in which they arrive, [M].
        shares: how likely each is to come from each distribution, [M, D]; the rows' sums are 1.
        own_priors: of the distributions, [D, C].
        names: of the distributions, length D.
    """

    name: str
    batch_size: int
    indices: NDArray[np.int64]
    shares: NDArray[np.float64]
    own_priors: NDArray[np.float64]
    names: tuple[str, ...]

    def batch_prior(self, batch: slice) -> NDArray[np.float64]:
        """The true prior of a batch: the mean of its images', [C]."""
        return self.shares[batch].mean(axis=0) @ self.own_priors

    @property
    def most_often(self) -> int:
        """How often the image arrives that arrives most often."""
        return int(np.bincount(self.indices).max())


def schedule(
    distributions: Sequence[Distribution],
    targets: NDArray[np.integer],
    num_classes: int,
    *,
    batch_size: int,
    images: int,
    change: Change = "abrupt",
) -> StreamSchedule:
    """A stream of test distributions, in the order given.

    "abrupt": each has an equal part of the stream. "slow": an image at the place u in 0 … D − 1 comes from distribution
    ⌊u⌋ + 1 with the probability u − ⌊u⌋, else from ⌊u⌋. A distribution's images come in a random order; where more are
    wanted than it has, all of them come again, in another order.

    Args:
        distributions: at least 1.
        targets: labels of the test split, [N].
        num_classes: C.
        batch_size: B, at least 1.
        images: M, at least 1.
        change: how one follows on the other.
    """
    own = np.stack([np.bincount(targets[each.indices], minlength=num_classes) for each in distributions])
    shares = _shares(images, len(distributions), change)
    from_which = (generator(_SEED, Stream.ARRIVAL).random((images, 1)) >= shares.cumsum(axis=1)[:, :-1]).sum(axis=1)
    indices = np.empty(images, np.int64)
    for number, distribution in enumerate(distributions):
        arriving = from_which == number
        indices[arriving] = _in_random_order(distribution.indices, int(arriving.sum()), number)
    names = tuple(distribution.name for distribution in distributions)
    name = f"stream of {batch_size}: {_ARROWS[change].join(names)}"
    return StreamSchedule(name, batch_size, indices, shares, own / own.sum(axis=1, keepdims=True), names)


def _shares(images: int, distributions: int, change: Change) -> NDArray[np.float64]:
    """See `schedule`: [M, D]."""
    if change == "abrupt" or distributions == 1:
        return np.eye(distributions)[np.arange(images) * distributions // images]
    places = np.linspace(0, distributions - 1, images)[:, np.newaxis]
    return np.maximum(1 - np.abs(places - np.arange(distributions)), 0)


def _in_random_order(indices: NDArray[np.int64], count: int, distribution: int) -> NDArray[np.int64]:
    """`count` of the images, all of them before any comes again."""
    rounds = range(-(-count // len(indices)))
    orders = [generator(_SEED, Stream.ARRIVAL, distribution + 1, each).permutation(indices) for each in rounds]
    return np.concatenate([*orders, np.empty(0, np.int64)])[:count].astype(np.int64)
