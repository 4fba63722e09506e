"""Scalars and figures for TensorBoard, and for Weights & Biases where it is asked for."""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import UserError, reason_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)


class Recorder:
    """Writes a run's curves into its folder; whatever goes wrong with that is a warning, once, and the run goes on.

    Args:
        folder: the run's folder.
        first_epoch: what an earlier process recorded from this epoch on is superseded.
        wandb: also send scalars to Weights & Biases.
        config: the run's configuration, which Weights & Biases shows, and TensorBoard as hyper-parameters.

    Raises:
        UserError: `wandb` is wanted but not installed, or can't be reached.
    """

    def __init__(
        self, folder: Path, *, first_epoch: int = 1, wandb: bool = False, config: Mapping[str, Any] | None = None
    ) -> None:
        self._undrawn: set[str] = set()
        self._settings = dict(_settings(config or {}))
        self._wandb = _start_wandb(folder, config) if wandb else None
        self._writer: SummaryWriter | None = None
        threading.excepthook = _unless_told_otherwise
        with self._events_written():
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - takes a second to import

            # from epoch 1, too: it may have been recorded by a process that ended before the epoch's checkpoint
            self._writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Record named numbers of an epoch; they are in the file when this returns."""
        with self._events_written():
            if self._writer is not None:
                for name, value in values.items():
                    self._writer.add_scalar(name, value, epoch)
                self._writer.flush()
        with self._wandb_told():
            if self._wandb is not None:
                self._wandb.log(dict(values), step=epoch)

    def figure(self, name: str, draw: Callable[[], Figure | None], epoch: int) -> None:
        """Record a figure of an epoch, where there is one, and close it; what can't be drawn is a warning, once."""
        with self._events_written(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of letters that the font hasn't got
            try:
                if self._writer is not None and (figure := draw()) is not None:
                    self._writer.add_figure(name, figure, epoch)
            except OSError:
                raise
            except Exception as error:  # matplotlib raises nearly anything
                if name not in self._undrawn:
                    logger.warning("warning: %s of epoch %d can't be drawn: %s", name, epoch, reason_of(error))
                self._undrawn.add(name)

    def hyperparameters(self, scores: Iterable[str]) -> None:
        """Record that the run is over: its settings beside the last values of the scalars `scores`, to compare runs."""
        with self._events_written():
            if self._writer is not None and self._settings:
                from torch.utils.tensorboard.summary import hparams  # noqa: PLC0415 - as the writer

                # TensorBoard looks the values up in the curves
                for summary in hparams(self._settings, dict.fromkeys(scores, 0.0)):
                    self._writer._get_file_writer().add_summary(summary)

    def close(self) -> None:
        """Write what is still held back."""
        with self._events_written():
            if self._writer is not None:
                self._writer.close()
        with self._wandb_told():
            if self._wandb is not None:
                self._wandb.finish()

    @contextmanager
    def _events_written(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._writer = None
            logger.warning("warning: TensorBoard's curves end here, they can't be written: %s", reason_of(error))

    @contextmanager
    def _wandb_told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._wandb = None
            logger.warning("warning: Weights & Biases is told no more, it fails: %s", reason_of(error))


class SilentRecorder(Recorder):
    """Records nothing: another process does."""

    def __init__(self) -> None:
        pass

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Nothing."""

    def figure(self, name: str, draw: Callable[[], Figure | None], epoch: int) -> None:
        """Nothing."""

    def hyperparameters(self, scores: Iterable[str]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


_print_traceback = threading.excepthook


def _unless_told_otherwise(arguments: threading.ExceptHookArgs) -> None:
    """TensorBoard's writing thread hands an error to the next call, too; it needn't print a traceback besides."""
    if not (isinstance(arguments.exc_value, OSError) and type(arguments.thread).__name__ == "_AsyncWriterThread"):
        _print_traceback(arguments)


def _settings(section: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float | str | bool]]:
    """A configuration's values by their paths, "optimizer.args.lr"; lists as JSON, nulls left out."""
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{path}{name}.")
        elif value is not None:
            yield (
                f"{path}{name}",
                value if isinstance(value, (bool, int, float, str)) else json.dumps(value, default=str),
            )


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
    try:
        return require_wandb().init(dir=str(folder), name=folder.name, config=dict(config or {}))
    except UserError:
        raise
    except Exception as error:  # no login, no network: better told now than after the run
        raise UserError(f"--use-wandb: Weights & Biases can't be started: {reason_of(error)}") from None
