"""Where a run stands, as its checkpoints keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass
class RunState:
    """Where a run stands.

    Args:
        epoch: epochs completed.
        step: steps done of the epoch after that.
        best: the best value of the monitored quantity so far.
        best_epoch: when it was reached; 0: not yet.
        skipped_steps: steps skipped for a loss that was no finite number.
        accumulate_steps: what "auto" has chosen for `accumulate_steps`; 0: nothing yet.
        history: what each completed epoch logged.
    """

    epoch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    skipped_steps: int = 0
    accumulate_steps: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def best_log(self) -> dict[str, float] | None:
        """What the best epoch logged; None: there is none yet."""
        return next((log for log in self.history if log.get("epoch") == self.best_epoch), None)

    def exhausted(self, monitored: str, patience: int) -> bool:
        """Whether the quantity `monitored` has failed to improve for `patience` epochs; never for a patience of 0."""
        recorded = bool(self.history) and monitored in self.history[-1]
        return bool(patience) and recorded and self.epoch - self.best_epoch >= patience

    def state_dict(self) -> dict[str, Any]:
        """All fields, as plain data."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up where `state_dict` was called.

        Raises:
            ValueError: the fields are others.
        """
        names = {entry.name for entry in fields(self)}
        if state.keys() != names:
            raise ValueError(f"its fields are {', '.join(sorted(state))} instead of {', '.join(sorted(names))}")
        vars(self).update(state)
