"""Labels of a batch, mixed or not: one object for every loss and metric.

`B` batch, `E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class MixedTargets:
    """Each image's own class and, where it was mixed, its partner's.

    Attributes:
        own: int64, shape [B].
        partners: the partners' classes, int64, shape [B]; None where nothing was mixed.
        mix_lambda: λ, the share of an image's own class, in [0, 1].
    """

    own: Tensor
    partners: Tensor | None = None
    mix_lambda: float = 1.0

    def weigh(self, measure: Callable[[Tensor], Tensor]) -> Tensor:
        """λ·measure(y) + (1−λ)·measure(y of the partners), for whatever is a function of class indices [B]."""
        own = measure(self.own)
        if self.partners is None:
            return own
        return self.mix_lambda * own + (1 - self.mix_lambda) * measure(self.partners)

    def pick(self, values: Tensor) -> Tensor:
        """Values of classes [..., B, C] at the labels, weighed by the mixing: [..., B].

        So a loss that is computed once for all classes (a log-softmax, say) is read off at both labels.
        """

        def at(labels: Tensor) -> Tensor:
            return values.gather(-1, labels.expand(values.shape[:-1]).unsqueeze(-1)).squeeze(-1)

        return self.weigh(at)
