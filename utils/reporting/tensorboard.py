"""Scalars and figures for TensorBoard, and for Weights & Biases where it is asked for."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


class Recorder:
    """Writes a run's curves into its folder.

    Args:
        folder: the run's folder.
        first_epoch: what an earlier process recorded from this epoch on is superseded.
        wandb: also send scalars to Weights & Biases.
        config: what Weights & Biases shows as the run's configuration.

    Raises:
        UserError: `wandb` is wanted but not installed; the curves can't be written (every method says so).
    """

    def __init__(
        self, folder: Path, *, first_epoch: int = 1, wandb: bool = False, config: Mapping[str, Any] | None = None
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - takes a second to import

        self._folder = folder
        self._wandb = _start_wandb(folder, config) if wandb else None
        threading.excepthook = _unless_told_otherwise
        with self._failures_told():
            # from epoch 1, too: it may have been recorded by a process that ended before the epoch's checkpoint
            self._writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Record named numbers of an epoch; they are in the file when this returns, before any checkpoint is."""
        with self._failures_told():
            for name, value in values.items():
                self._writer.add_scalar(name, value, epoch)
            self._writer.flush()
        if self._wandb is not None:
            self._wandb.log(dict(values), step=epoch)

    def figure(self, name: str, figure: Figure | None, epoch: int) -> None:
        """Record a figure of an epoch, where there is one, and close it; what can't be drawn is a line in the log."""
        if figure is None:
            return
        with self._failures_told(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of letters that the font hasn't got
            try:
                self._writer.add_figure(name, figure, epoch)
            except OSError:
                raise
            except Exception as error:  # no picture is worth a run, and matplotlib raises nearly anything
                logger.warning(
                    "%s of epoch %d can't be drawn: %s", name, epoch, (str(error) or repr(error)).split("\n")[0]
                )

    def close(self) -> None:
        """Write what is still held back."""
        with self._failures_told():
            self._writer.close()
        if self._wandb is not None:
            self._wandb.finish()

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self._folder}: cannot write TensorBoard events: {error.strerror}") from None


class SilentRecorder(Recorder):
    """Records nothing: another process does."""

    def __init__(self) -> None:
        pass

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Nothing."""

    def figure(self, name: str, figure: Figure | None, epoch: int) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


_print_traceback = threading.excepthook


def _unless_told_otherwise(arguments: threading.ExceptHookArgs) -> None:
    """TensorBoard's writing thread hands an error to the next call, too; it needn't print a traceback besides."""
    if not (isinstance(arguments.exc_value, OSError) and type(arguments.thread).__name__ == "_AsyncWriterThread"):
        _print_traceback(arguments)


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
