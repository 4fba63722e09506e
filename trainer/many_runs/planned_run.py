"""One of several runs: its frozen configuration, the command that trains it, and how far it has come."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

from base import RunState
from trainer.config.run_config import RunConfig
from trainer.many_runs.job import Job
from trainer.many_runs.sameness import trains_in, what_is_trained
from trainer.run_folders import newest_first
from utils.config.parser import AUTOMATIC, ConfigParser
from utils.errors import CheckpointError
from utils.files.checkpoint import load_checkpoint
from utils.files.checkpoint_names import checkpoint_position, checkpoints_of
from utils.files.writing import write_text

FILES = "several"
"""The folder beside the runs' own for what one command keeps about them."""

_TRAIN = Path(__file__).resolve().parents[2] / "train.py"
_EPOCH = re.compile(rb"^epoch (\d+)/\d+ ", re.MULTILINE)  # what a run prints of each epoch
_TAIL = 10_000  # bytes
_LONGEST_NAME = 100


class PlannedRun:
    """One of several runs.

    Its configuration is frozen in a file before the first run starts: a recipe that is edited while others train
    concerns none of them.

    Args:
        label: in what it differs from the others.
        parser: its configuration.
        config: the same, typed.
        log_config: file of a logging configuration.
    """

    def __init__(self, label: str, parser: ConfigParser, config: RunConfig, *, log_config: str | None = None) -> None:
        self.label = label
        self.parser = parser
        self.config = config
        self.log_config = log_config
        self.what = what_is_trained(parser.config)
        content = parser.as_json()
        digest = hashlib.sha256(content.encode("utf8", "backslashreplace")).hexdigest()[:8]
        name = re.sub(r"[^\w.=+-]+", "_", label)[:_LONGEST_NAME]
        self.frozen = parser.runs_folder() / FILES / f"{name}-{digest}.json"

    def freeze(self) -> None:
        """Write the configuration that the command reads.

        Raises:
            UserError: the folder can't be written to.
        """
        write_text(self.frozen, self.parser.as_json())

    @property
    def job(self) -> Job:
        """What trains it."""
        logging_flags = [] if self.log_config is None else ["-l", self.log_config]
        command = [sys.executable, str(_TRAIN), "-c", str(self.frozen), "-r", AUTOMATIC, *logging_flags]
        several = self.config.trainer.parallel != "none"
        return Job(
            label=self.label,
            command=tuple(command),
            log=self.frozen.with_suffix(".log"),
            gpus=self.config.n_gpu if several else min(self.config.n_gpu, 1),
            workers=int(self.config.data_loader.args.get("num_workers", 0)),
        )

    def folder(self) -> Path | None:
        """The newest folder with a run of this configuration, which the command goes on in; None: there is none yet."""
        alike = [path for path in self.parser.runs_folder().glob("*/") if trains_in(path) == self.what]
        return next(iter(newest_first(alike)), None)

    def newest(self) -> Path | None:
        """The newest checkpoint of that run."""
        folder = self.folder()
        return next(iter(checkpoints_of(folder)), None) if folder is not None else None

    def is_finished(self) -> bool:
        """Whether its last epoch has its checkpoint, or early stopping has ended it."""
        newest = self.newest()
        position = checkpoint_position(newest.name) if newest is not None else None
        if newest is None or position is None:
            return False
        if position[0] >= self.config.trainer.epochs:
            return True
        return bool(self.config.trainer.early_stop) and not position[1] and self._has_stopped_early(newest)

    def epochs_done(self) -> int:
        """Epochs completed, as far as checkpoints and what the command has printed tell."""
        newest = self.newest()
        position = checkpoint_position(newest.name) if newest is not None else None
        return position[0] if position is not None else 0

    def epochs_printed(self, since: int) -> int:
        """The epoch that the command, whose output began at byte `since` of the log, has last told of; 0: none."""
        told = _EPOCH.findall(last_output(self.job.log, since))
        return int(told[-1]) if told else 0

    def _has_stopped_early(self, checkpoint: Path) -> bool:
        state = RunState()
        try:
            state.load_state_dict(load_checkpoint(checkpoint)["progress"])
        except (CheckpointError, KeyError, ValueError):
            return False
        return state.exhausted(self.config.monitor.name, self.config.trainer.early_stop)


def last_output(log: Path, since: int = 0) -> bytes:
    """The end of what has been appended to a log after byte `since`; nothing where there is no log."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(since, size - _TAIL))
            return file.read()
    except OSError:
        return b""
