"""What the evaluation scripts do: open a run by its checkpoint, score it, print and store the results."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.evaluation.distributions import remark
from trainer.evaluation.opened_run import TestRun, open_run
from trainer.evaluation.presets import WHOLE, Preset
from trainer.evaluation.prior_flags import assumption, chosen_prior
from trainer.evaluation.priors import TestPrior
from trainer.evaluation.results import results_table, test_report
from trainer.evaluation.streams.flags import StreamOptions, stream_options
from trainer.evaluation.streams.report import stream_table, write_stream
from trainer.evaluation.streams.run_stream import stream_of_run
from trainer.report.automatic import report_by_itself, wants_report
from utils.config.parser import ConfigParser
from utils.distributed.environment import LaunchEnvironment
from utils.errors import RunError, UserError


def print_test(parser: ConfigParser, environment: LaunchEnvironment, arguments: argparse.Namespace) -> TestRun | None:
    """Evaluate on the test split: the ensemble, each expert alone, every class.

    Returns the run as it was evaluated, in rank 0.

    Args:
        parser: the configuration, with the checkpoint.
        environment: the processes as they were launched.
        arguments: the flags, see `trainer.evaluation.scripts`.
    """
    prior, stream = chosen_prior(arguments), _stream(arguments)
    run = _opened(parser, environment, arguments, prior)
    if run is None:
        return None
    if stream is not None:
        _print_stream(run, WHOLE, prior, stream)
        return run
    whole = _aggregated(WHOLE, run, arguments.aggregation)
    rows = run.rows(whole, run.selected(whole), prior=prior, intervals=arguments.intervals)
    report = test_report(rows, run.loader.class_names, run.loader.cls_num_list, run.split.sizes)
    _keep_and_print(run, rows, f"{_heading(run, prior, rows)}\n\n{report}")
    _report(run, parser, arguments)
    return run


def print_sweep(
    preset: Preset, parser: ConfigParser, environment: LaunchEnvironment, arguments: argparse.Namespace
) -> None:
    """Evaluate on a preset's test distributions, or on those that the flags name; arguments as of `print_test`."""
    prior, stream = chosen_prior(arguments), _stream(arguments)
    run = _opened(parser, environment, arguments, prior)
    if run is None:
        return
    if arguments.distributions is not None:
        preset = replace(preset, distributions=tuple(arguments.distributions), by_default=False)
    if stream is not None:
        _print_stream(run, preset, prior, stream)
        return
    preset = _aggregated(preset, run, arguments.aggregation)
    distributions = run.selected(preset)
    rows = run.rows(preset, distributions, prior=prior, intervals=arguments.intervals)
    below = f"\n{text}" if (text := remark(distributions)) else ""
    report = f"{results_table(rows, first='distribution')}{below}"
    _keep_and_print(run, rows, f"{_heading(run, prior, rows)}\n\n{report}")
    _report(run, parser, arguments)


def _report(run: TestRun, parser: ConfigParser, arguments: argparse.Namespace) -> None:
    """Write the run's page anew, unless flag or configuration say no; a stream has no part in it."""
    if wants_report(parser.config) and not arguments.no_report:
        report_by_itself(run.checkpoint.parent)


def _opened(
    parser: ConfigParser, environment: LaunchEnvironment, arguments: argparse.Namespace, prior: TestPrior
) -> TestRun | None:
    """The run with what the flags ask for; None in all processes but rank 0."""
    return open_run(
        parser,
        environment,
        log_config=arguments.log_config,
        held_out=prior.held_out,
        allow_trained=arguments.allow_trained,
        calibration=arguments.calibration,
        views=arguments.aggregation != "mean",
    )


def _aggregated(preset: Preset, run: TestRun, name: str) -> Preset:
    """A preset with the aggregation that the flag names, or a UserError where there is nothing to aggregate."""
    if name != "mean" and next(iter(run.predictions.logits.values())).shape[1] == 1:
        raise UserError(f"--aggregation {name}: the network has one expert, and weighs nothing")
    if name != "mean" and run.calibration.fitted is not None:
        raise UserError(f"--aggregation {name}: a calibration is of the mean and of each expert; leave one of both out")
    return preset.aggregated(name)


def _stream(arguments: argparse.Namespace) -> StreamOptions | None:
    options = stream_options(arguments)
    if options is not None and arguments.aggregation != "mean":
        raise UserError(f"--stream: the experts' mean is followed; leave --aggregation {arguments.aggregation} out")
    return options


def _print_stream(run: TestRun, preset: Preset, prior: TestPrior, stream: StreamOptions) -> None:
    """A preset's distributions as a stream."""
    distributions = run.selected(preset)
    rows, arriving = stream_of_run(run, distributions, prior, stream)
    below = f"\n{text}" if (text := remark(distributions)) else ""
    report = f"{_heading(run, prior, rows)}\n{arriving.name}\n\n{stream_table(rows, arriving)}{below}"
    _keep_and_print(run, rows, report, lambda: write_stream(run.checkpoint.parent, rows, arriving))


def _heading(run: TestRun, prior: TestPrior, rows: Sequence[Mapping[str, Any]]) -> str:
    """What was evaluated, and what is assumed."""
    return f"{run.description}\n{run.split_in_words}{run.calibration.in_words}{assumption(prior, rows)}"


def _keep_and_print(
    run: TestRun, rows: Sequence[Mapping[str, Any]], report: str, write: Callable[[], Sequence[Path]] = tuple
) -> None:
    """Enter rows into the result files, then print: whoever reads may be gone. The report comes in any case.

    `write` writes further files.

    Raises:
        RunError: the rows could not be kept.
    """
    try:
        written = ", ".join([run.store(rows), *map(str, write())])
    except UserError as error:
        print(report)
        raise RunError(f"the results are printed above, and not kept: {error}") from None
    print(f"{report}\n\n{written}")
