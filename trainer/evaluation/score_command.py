"""What `python -m tools.score` does: read anybody's predictions, score or correct them, print and store that."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from model.calibration import top_confidences
from model.prior_estimation import HeldOut
from trainer.evaluation.applied_calibration import AppliedCalibration
from trainer.evaluation.distributions import TestSplit
from trainer.evaluation.given_arrays import look_like_probabilities
from trainer.evaluation.given_calibration import given_calibration
from trainer.evaluation.given_files import GivenPredictions, read_predictions
from trainer.evaluation.home import home_in_words
from trainer.evaluation.prior_flags import assumption, prior_named
from trainer.evaluation.priors import FoundPrior, TestPrior
from trainer.evaluation.result_files import write_results
from trainer.evaluation.results import MOST_CLASSES_SHOWN, results_table, test_report
from trainer.evaluation.scoring import Corrected, correct, score
from utils.errors import UserError
from utils.files.writing import csv_text, write_text
from utils.reporting.tables import percent, table
from utils.standard_streams import say

PREDICTIONS_CSV, PRIOR_CSV = "predictions.csv", "test_prior.csv"
NOT_SAID = (
    "Without labels nothing can be said of accuracy or calibration, and intervals tell what another draw of as many "
    "images might have given, not whether the predictions mislead the estimate."
)
_EXPERTS_LEFT_OUT = "\n\nThe experts alone are left out: their home priors are not known (--home once for each)"


def print_score(arguments: argparse.Namespace) -> None:
    """Score predictions with labels, or correct those without.

    Args:
        arguments: the flags, see `tools.score`.
    """
    prior = _prior(arguments)
    given = read_predictions(
        arguments.logits,
        kind=arguments.kind,
        homes=arguments.home,
        key=arguments.key,
        labels=arguments.labels,
        labels_key=arguments.labels_key,
        training_counts=arguments.train_counts,
        held_out=None if arguments.held_out is None else (arguments.held_out, arguments.held_out_labels),
    )
    if arguments.kind == "logits" and look_like_probabilities(given.logits):
        say(f"warning: {arguments.logits}: every row is at least 0 with the sum 1: --kind probabilities?")
    description = f"{arguments.logits}: {arguments.kind} of {given.in_words}"
    calibration = _calibration(given, arguments.calibration)
    description = f"{description}\n{calibration.in_words}".rstrip()
    if given.labels is None:
        _print_corrected(description, given, prior, calibration, arguments.out)
    else:
        _print_scored(description, given, prior, calibration, arguments)


def _prior(arguments: argparse.Namespace) -> TestPrior:
    """What the flags name; without labels, where none is named, the estimator that does least harm."""
    default = "none" if arguments.labels else "tilt" if arguments.train_counts else "map-em"
    prior = prior_named(arguments.prior or default)
    if prior.held_out == "needed" and arguments.held_out is None:
        raise UserError(
            f"--prior {prior.name}: needs labelled images that were held out: --held-out LOGITS --held-out-labels FILE"
        )
    if not arguments.labels and prior.name in ("none", "known"):
        raise UserError(f"--prior {prior.name}: without --labels, give an estimator (em, map-em, tilt) or a file")
    return prior


def _calibration(given: GivenPredictions, named: str) -> AppliedCalibration:
    held_out = None if given.held_out is None else HeldOut(*given.held_out)
    return given_calibration(named, held_out, given.homes, given.training_counts, given.logits.shape[2])


@contextmanager
def _mistakes_of_prior(prior: TestPrior, given: GivenPredictions) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        hint = " (--train-counts)" if given.training_counts is None else ""
        raise UserError(f"--prior {prior.name}: {error}{hint}") from None


def _print_scored(
    description: str,
    given: GivenPredictions,
    prior: TestPrior,
    calibration: AppliedCalibration,
    arguments: argparse.Namespace,
) -> None:
    labels = given.labels
    assert labels is not None, "without labels there is nothing to score"
    with _mistakes_of_prior(prior, given):
        rows = score(
            given.logits,
            labels,
            kind="logits",
            home=given.homes,
            training_counts=given.training_counts,
            class_names=given.class_names,
            distributions=arguments.distributions,
            prior=prior,
            intervals=arguments.intervals,
            held_out=given.held_out,
            calibration=calibration,
            source=arguments.logits.name,
        )
    assumed = assumption(prior, rows)
    written = _written(write_results(_folder(arguments.out), rows) if arguments.out else [])
    split = TestSplit(labels, given.training_counts, num_classes=given.logits.shape[2])
    print(f"{description}\n{split.in_words}{assumed}")
    if arguments.distributions is None:
        below = _EXPERTS_LEFT_OUT if len(rows) == 1 < given.logits.shape[1] else ""
        print(f"\n{test_report(rows, given.class_names, given.training_counts, split.sizes)}{below}{written}")
    else:
        print(f"\n{results_table(rows, first='distribution')}{written}")


def _print_corrected(
    description: str, given: GivenPredictions, prior: TestPrior, calibration: AppliedCalibration, out: Path | None
) -> None:
    with _mistakes_of_prior(prior, given):
        corrected = correct(
            given.logits,
            kind="logits",
            home=given.homes,
            prior=prior,
            training_counts=given.training_counts,
            class_names=given.class_names,
            held_out=given.held_out,
            calibration=calibration,
        )
    found, names = corrected.found, given.class_names
    assert found is not None, "a prior without a correction was refused"
    home = home_in_words(corrected.home, given.training_counts)
    after, before = corrected.logits.argmax(axis=1), corrected.uncorrected.argmax(axis=1)
    written = ""
    if out is not None:
        columns = _prior_columns(found)
        by_name = zip(names, *(column.tolist() for column in columns.values()), strict=True)
        paths = [_folder(out) / PRIOR_CSV, out / PREDICTIONS_CSV]
        write_text(paths[0], csv_text(["class", *columns], by_name))
        write_text(paths[1], _predictions_csv(corrected, names))
        written = _written(paths)
    print(f"{description}\n{assumption(prior, [{'predictor': 'ensemble', 'home': home}])}")
    print(f"\n{_prior_table(found, names, np.bincount(after, minlength=len(names)) / len(after))}")
    print(f"\n{(after != before).sum()} of {len(after)} predictions are another class than before\n{NOT_SAID}{written}")


def _prior_columns(found: FoundPrior) -> dict[str, np.ndarray]:
    """The test prior, as frequencies, and the ends of its interval, each [C]."""
    columns = {"prior": found.prior / found.prior.sum()}
    return columns if found.interval is None else {**columns, "low": found.interval[0], "high": found.interval[1]}


def _prior_table(found: FoundPrior, names: Sequence[str], predicted: np.ndarray) -> str:
    """The most frequent classes, in the order of the classes."""
    columns = _prior_columns(found)
    shown = np.sort(np.argsort(-columns["prior"], kind="stable")[:MOST_CLASSES_SHOWN])
    values = {**columns, "predicted": predicted}
    cells = [[names[place], *(percent(float(column[place])) for column in values.values())] for place in shown]
    title = f"\n(the {len(shown)} most frequent of {len(names)} classes)" if len(shown) < len(names) else ""
    return table(["class", *(f"{name} %" for name in values)], cells) + title


def _predictions_csv(corrected: Corrected, names: Sequence[str]) -> str:
    """Each image's class under the test prior, with the probability of it, and the class before."""
    columns = (
        (names[place] for place in corrected.logits.argmax(axis=1)),
        top_confidences(corrected.logits).tolist(),
        (names[place] for place in corrected.uncorrected.argmax(axis=1)),
    )
    rows = ((image, *cells) for image, cells in enumerate(zip(*columns, strict=True)))
    return csv_text(["image", "class", "confidence", "class before"], rows)


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {path}: can't make the folder: {error.strerror}") from None
    return path


def _written(paths: Sequence[Path]) -> str:
    return f"\n\nResults written to {', '.join(map(str, paths))}" if paths else ""
