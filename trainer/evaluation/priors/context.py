"""What a test prior is come by from, and what an entry of the registry says of itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model.priors import adjust_logits


@dataclass(frozen=True)
class PriorContext:
    """The test set's labels, the classes, and where the predictor is at home.

    Args:
        targets: labels of the test set, [M]; for what assumes that the test prior is known, and for nothing else.
        class_counts: training images of each class, length C.
        class_names: length C.
        home: the class prior under which the predictor's logits are right, [C]; None where it is unknown.
    """

    targets: np.ndarray
    class_counts: Sequence[int]
    class_names: Sequence[str]
    home: np.ndarray | None = None


@dataclass(frozen=True)
class TestPrior:
    """A way to come by the test prior.

    Args:
        name: in the results' column `prior`.
        find: the predictor's logits on a test set [M, C] and what else is known → the test prior [C], as counts or
            frequencies; None leaves the logits as they are.
        assumption: what a table says of it.
        from_home: whether the predictor's own prior is taken out; without, it is taken for uniform.
    """

    __test__ = False

    name: str
    find: Callable[[np.ndarray, PriorContext], np.ndarray | None]
    assumption: str
    from_home: bool = True

    def corrected(self, logits: np.ndarray, context: PriorContext) -> np.ndarray:
        """Logits [M, C] under the test prior.

        Raises:
            ValueError: the predictor's own prior is needed and unknown.
        """
        if self.from_home and context.home is None:
            raise ValueError("the prior that the predictor is at home on is unknown")
        prior = self.find(logits, context)
        if prior is None:
            return logits
        return adjust_logits(logits, prior, home_prior=context.home if self.from_home else None)


def class_frequencies(logits: np.ndarray, context: PriorContext) -> np.ndarray:
    """The test set's own class counts, [C]."""
    return np.bincount(context.targets, minlength=logits.shape[1])
