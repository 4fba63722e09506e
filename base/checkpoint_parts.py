"""What a checkpoint holds of a run: one registry, used for saving and for loading.

The parts get their names in `trainer.training_state`: `state_dict` (the network), `criterion` and whatever else
the method lists, `optimizer`, `lr_scheduler`, `meters`, `precision`, `progress`. Beside them stand `arch`, `config` and
`class_names` (`Trainer.metadata`), `epoch` and `monitor_best`, as published checkpoints have them. `BaseTrainer.save`
writes a checkpoint (utils/files/checkpoint.py), trainer/continuation.py takes one up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from utils.errors import CheckpointError
from utils.files.state_differences import type_difference


class Stateful(Protocol):
    """A part of a run that a checkpoint holds."""

    def state_dict(self) -> Mapping[str, Any]:
        """Everything a continuation needs."""
        ...

    def load_state_dict(self, state: Any) -> Any:
        """Take up where `state_dict` was called."""
        ...


class CheckpointParts:
    """Name in the checkpoint → part of the run. What is registered is saved and loaded, so no part can be forgotten."""

    def __init__(self) -> None:
        self._parts: dict[str, Stateful] = {}

    def register(self, name: str, part: Stateful) -> None:
        """Add a part.

        Raises:
            ValueError: another part has this name.
        """
        if name in self._parts:
            raise ValueError(f"two parts of a checkpoint are called {name!r}")
        self._parts[name] = part

    def state_dict(self) -> dict[str, Any]:
        """The content of a checkpoint: every part's state under its name."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load(self, content: Mapping[str, Any], checkpoint: Path, *, without: Collection[str] = ()) -> None:
        """Take up every part from a checkpoint's content, but for those whose names are in `without`.

        Raises:
            CheckpointError: a part is missing or does not fit.
        """
        for name, part in self._parts.items():
            if name in without:
                continue
            if name not in content:
                raise CheckpointError(
                    f"{checkpoint}: holds no '{name}', so the run can't be continued exactly; "
                    "set resume_state_dict_only=true to start a new run from its weights"
                )
            if different := type_difference(part.state_dict(), content[name], f"its '{name}'"):
                raise CheckpointError(f"{checkpoint}: {different}")
            try:
                part.load_state_dict(content[name])
            except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise CheckpointError(f"{checkpoint}: its '{name}' does not fit the configuration: {reason}") from None
