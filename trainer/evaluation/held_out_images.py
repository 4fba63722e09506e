"""What the commands have in common that fit something to the images that training held out."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.evaluation.opened_run import TestRun, open_run
from trainer.evaluation.predictions import Predictions
from utils.config.parser import ConfigParser
from utils.distributed.environment import LaunchEnvironment

_FEW = 10


def open_held_out(
    parser: ConfigParser, environment: LaunchEnvironment, log_config: str | None
) -> tuple[TestRun, Predictions] | None:
    """A checkpoint's run, and predictions of its held-out images; None in all processes but rank 0.

    Arguments and errors as of `trainer.evaluation.opened_run.open_run`.
    """
    run = open_run(parser, environment, log_config=log_config, held_out="needed")
    if run is None:
        return None
    assert run.held_out is not None, "held-out images are needed"
    return run, run.held_out


def counts_in_words(fitted_on: str, class_counts: Sequence[int]) -> str:
    """What something was fitted on, with the images that a class has there: `"80 images, 12 to 3 a class; …"`."""
    few = sum(count < _FEW for count in class_counts)
    told = f"; {few} of {len(class_counts)} classes have fewer than ten" if few else ""
    return f"{fitted_on}, {max(class_counts)} to {min(class_counts)} a class{told}"
