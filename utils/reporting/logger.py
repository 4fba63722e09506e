"""The log of a run: on the screen and in its folder."""

from __future__ import annotations

import logging
import logging.config
import sys
from pathlib import Path

from utils.config.json_files import parse_json
from utils.errors import UserError, reason_of
from utils.files.reading import read_text_file, regular_file

LOG_NAME = "info.log"
_MOST_BYTES = 10_000_000
LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


class _LosesLines(logging.Handler):
    """A line that can't be written is lost without a word: a full disk is told where it matters, at the checkpoint."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Stay silent about the operating system's errors."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _Screen(_LosesLines, logging.StreamHandler):
    pass


class _LogFile(_LosesLines, logging.FileHandler):
    pass


def set_up_logging(verbosity: int, *, folder: Path | None = None, config_file: str | None = None) -> None:
    """Send the log to the screen (standard output), and to `folder`/info.log where a folder is given.

    Args:
        verbosity: 0, 1, 2: warnings, info, debug.
        folder: the run's folder; its log is appended to.
        config_file: a JSON file in the form of `logging.config.dictConfig` that takes the place of all this;
            the files it names lie in `folder`, and are not written where none is given.

    Raises:
        UserError: the logging configuration can't be used, or the log can't be written.
    """
    if config_file is not None:
        _from_file(Path(config_file), folder)
        return
    handlers: list[logging.Handler] = [_Screen(sys.stdout)]
    handlers[0].setFormatter(logging.Formatter("%(message)s"))
    if folder is not None:
        if (folder / LOG_NAME).exists():
            regular_file(folder / LOG_NAME, "log")  # a pipe would wait for a reader
        try:
            handlers.append(_LogFile(folder / LOG_NAME, encoding="utf8"))
        except OSError as error:
            raise UserError(f"{folder / LOG_NAME}: can't be written: {error.strerror}") from None
        handlers[1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("matplotlib", "PIL", "filelock", "torch"):  # their debug lines are nobody's concern here
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.basicConfig(level=LEVELS[verbosity], handlers=handlers, force=True)


def _from_file(path: Path, folder: Path | None) -> None:
    text = read_text_file(path, "logging configuration", most_bytes=_MOST_BYTES)
    try:
        content = parse_json(text)
        handlers = content.get("handlers", {})
        for name in [name for name, handler in handlers.items() if "filename" in handler]:
            if folder is None:
                handlers[name] = {"class": "logging.NullHandler"}
            else:
                handlers[name]["filename"] = str(folder / handlers[name]["filename"])
        logging.config.dictConfig(content)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else reason_of(error)
        raise UserError(f"{path}: not a valid logging configuration: {reason}") from None
