"""Scalars and figures for TensorBoard, and for Weights & Biases where it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Recorder:
    """Writes a run's curves into its folder.

    Args:
        folder: the run's folder.
        first_epoch: what an earlier process recorded from this epoch on is superseded.
        wandb: also send scalars to Weights & Biases.
        config: what Weights & Biases shows as the run's configuration.

    Raises:
        UserError: `wandb` is wanted but not installed.
    """

    def __init__(
        self, folder: Path, *, first_epoch: int = 1, wandb: bool = False, config: Mapping[str, Any] | None = None
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - takes a second to import

        self._wandb = _start_wandb(folder, config) if wandb else None
        self._writer = SummaryWriter(str(folder), purge_step=first_epoch if first_epoch > 1 else None)

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Record named numbers of an epoch."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        if self._wandb is not None:
            self._wandb.log(dict(values), step=epoch)

    def figure(self, name: str, figure: Figure, epoch: int) -> None:
        """Record a figure of an epoch, and close it."""
        self._writer.add_figure(name, figure, epoch)

    def close(self) -> None:
        """Write what is still held back."""
        self._writer.close()
        if self._wandb is not None:
            self._wandb.finish()


def require_wandb() -> Any:
    """The package wandb.

    Raises:
        UserError: it is not installed.
    """
    try:
        import wandb  # noqa: PLC0415 - optional
    except ImportError:
        raise UserError("--use-wandb: the package wandb is not installed (pip install wandb)") from None
    return wandb


def _start_wandb(folder: Path, config: Mapping[str, Any] | None) -> Any:
    return require_wandb().init(dir=str(folder), name=folder.name, config=dict(config or {}))
