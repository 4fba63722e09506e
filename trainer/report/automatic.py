"""The report that comes by itself after training and evaluating; it never costs a run anything but its time."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import printable, reason_of

logger = logging.getLogger(__name__)


def wants_report(config: Mapping[str, Any]) -> bool:
    """Whether a configuration, checked before, asks for reports (`trainer.report`); it does by default."""
    options = config.get("trainer")
    return bool(options.get("report", True)) if isinstance(options, Mapping) else True


def report_by_itself(folder: Path) -> None:
    """Write a run's report and print where it is; whatever keeps it from being written is one warning."""
    try:
        from trainer.report.page import write_report  # noqa: PLC0415 - takes a third of a second

        page = write_report(folder, keeps_pictures=True)
    except Exception as error:  # the run is done and kept: nothing that drawing may raise is to cost its exit code
        logger.warning("warning: the report could not be written: %s", printable(reason_of(error)))
    else:
        print(f"Report: {page}")
