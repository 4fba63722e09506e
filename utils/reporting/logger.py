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

logger = logging.getLogger(__name__)


class _Screen(logging.StreamHandler):
    """Standard output; a line that can't be written is lost: there is nowhere to say so before the end."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Stay silent about the operating system's errors."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _LogFile(logging.FileHandler):
    """The run's log, which ends with a warning where the disk is full."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Write no more of it, and say so on the screen."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        logging.getLogger().removeHandler(self)
        logger.warning("warning: %s ends here, it can't be written: %s", self.baseFilename, reason_of(error))


def set_up_logging(verbosity: int, *, folder: Path | None = None, config_file: str | None = None) -> None:
    """Send the log to the screen (standard output), and to `folder`/info.log where a folder is given.

    Args:
        verbosity: 0, 1, 2: warnings, info, debug.
        folder: the run's folder; its log is appended to.
        config_file: a JSON file in the form of `logging.config.dictConfig` that takes the place of all this;
            the files it names lie in `folder`, and are not written where none is given.

    Raises:
        UserError: the logging configuration can't be used.
    """
    if config_file is not None:
        _from_file(Path(config_file), folder)
        return
    handlers: list[logging.Handler] = [_Screen(sys.stdout)]
    handlers[0].setFormatter(logging.Formatter("%(message)s"))
    unwritable = None
    if folder is not None:
        try:
            if (folder / LOG_NAME).exists():
                regular_file(folder / LOG_NAME, "log")  # a pipe would wait for a reader
            handlers.append(_LogFile(folder / LOG_NAME))
            handlers[1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        except UserError as error:
            unwritable = str(error)
        except OSError as error:
            unwritable = f"{folder / LOG_NAME}: can't be written: {error.strerror}"
    for name in ("matplotlib", "PIL", "filelock", "torch", "tensorboard"):  # their debug lines are no concern here
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.basicConfig(level=LEVELS[verbosity], handlers=handlers, force=True)
    if unwritable is not None:
        logger.warning("warning: %s", unwritable)


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
        raise UserError(f"{path}: not a valid logging configuration: {reason_of(error)}") from None
