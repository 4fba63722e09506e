"""What a test prior is come by from, and what an entry of the registry says of itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from model.posthoc_calibration import Calibrator
from model.prior_estimation import HeldOut, PriorEstimate, PriorEvidence
from model.priors import adjust_logits

HeldOutUse = Literal["unused", "helpful", "needed"]


@dataclass(frozen=True)
class PriorContext:
    """The test set's labels, the classes, and where the predictor is at home.

    Args:
        targets: labels of the test set, [M]; for what assumes that the test prior is known, and for nothing else. None:
            there are none.
        class_counts: training images of each class, length C; None: unknown.
        class_names: length C.
        home: the class prior under which the predictor's logits are right, [C]; None where it is unknown.
        held_out: the predictor's logits of labelled images that it was not trained on; None: there are none.
        replicates: resampled test sets that an estimate's interval is of; 0: it has none, which takes far less time.
    """

    targets: np.ndarray | None
    class_counts: Sequence[int] | None
    class_names: Sequence[str]
    home: np.ndarray | None = None
    held_out: HeldOut | None = None
    replicates: int = 50

    def evidence(self, logits: np.ndarray) -> PriorEvidence:
        """What estimators start from, for the predictor's logits [M, C]; those of the same array share it.

        Raises:
            ValueError: see `model.prior_estimation.PriorEvidence`; the predictor's own prior is unknown.
        """
        if self.home is None:
            raise ValueError("the prior that the predictor is at home on is unknown")
        if "evidence" not in self._shared or self._shared["evidence"][0] is not logits:
            made = PriorEvidence(logits, self.home, training_prior=self.class_counts, held_out=self.held_out)
            self._shared["evidence"] = (logits, made)
        return self._shared["evidence"][1]

    @cached_property
    def _shared(self) -> dict[str, tuple[np.ndarray, PriorEvidence]]:
        return {}


@dataclass(frozen=True)
class FoundPrior:
    """A test prior.

    Args:
        prior: [C], counts or frequencies.
        interval: lower and upper ends [C] of what another draw of as many test images might have given; None where
            the prior was not estimated, or its interval not asked for.
        spread: L1 distance from `prior` that 95 % of such draws stay within; None where it was not estimated.
        in_words: how it came about, for tables; "" where the entry's name says so.
    """

    prior: np.ndarray
    interval: tuple[np.ndarray, np.ndarray] | None = None
    spread: float | None = None
    in_words: str = ""


@dataclass(frozen=True)
class TestPrior:
    """A way to come by the test prior.

    Args:
        name: in the results' column `prior`, and as `--prior` has it.
        find: the predictor's logits on a test set [M, C] and what else is known → the test prior; None leaves the
            logits as they are.
        assumption: what a table says of it.
        from_home: whether the predictor's own prior is taken out; without, it is taken for uniform.
        held_out: whether labelled images that the network was not trained on are of use: "unused", "helpful" (an
            estimate without them is a poorer one) or "needed".
        estimator: what it is estimated by, a function of `PriorContext.evidence` and `image_weights`, roughly enough
            for many estimates in a row; None where it is not estimated.
    """

    __test__ = False

    name: str
    find: Callable[[np.ndarray, PriorContext], FoundPrior | None]
    assumption: str
    from_home: bool = True
    held_out: HeldOutUse = "unused"
    estimator: Callable[..., PriorEstimate] | None = None

    def found(self, logits: np.ndarray, context: PriorContext) -> FoundPrior | None:
        """The test prior for a predictor's logits [M, C].

        Raises:
            ValueError: the predictor's own prior is needed and unknown.
        """
        if self.from_home and context.home is None:
            raise ValueError("the prior that the predictor is at home on is unknown")
        return self.find(logits, context)

    def corrected(
        self,
        logits: np.ndarray,
        found: FoundPrior | None,
        context: PriorContext,
        calibrator: Calibrator | None = None,
    ) -> np.ndarray:
        """Logits [M, C] under the test prior that was found; the calibrator is what calibrated them, if anything."""
        if found is None:
            return logits
        if self.from_home and calibrator is not None and context.home is not None:
            return calibrator.corrected(logits, found.prior, context.home)
        return adjust_logits(logits, found.prior, home_prior=context.home if self.from_home else None)


def class_frequencies(logits: np.ndarray, context: PriorContext) -> FoundPrior:
    """The test set's own class counts.

    Raises:
        ValueError: its labels are not known.
    """
    if context.targets is None:
        raise ValueError("the class frequencies of the test images are known from their labels alone")
    return FoundPrior(np.bincount(context.targets, minlength=logits.shape[1]))
