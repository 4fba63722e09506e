"""What `python -m tools.predict` does: image files in, a table of classes and probabilities out.

`N` images, `E` experts, `C` classes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from trainer.evaluation.prior_flags import prior_named
from trainer.evaluation.priors import TestPrior
from trainer.inference import contact_sheet, predicted_rows
from trainer.inference.answered_sets import answered_sets
from trainer.inference.image_files import image_files
from trainer.inference.predicted_rows import as_rows, joined
from trainer.inference.stored_sets import StoredSets, stored_sets
from trainer.inference.trained_network import ENSEMBLE, TrainedNetwork
from utils.allocator import keep_freed_memory
from utils.config.parser import ConfigParser
from utils.errors import RunError, UserError
from utils.reporting.tables import percent, table

SHOWN = 20
_NAMED = 5
_LONGEST = 60  # characters of a set in the table


def print_predictions(parser: ConfigParser, arguments: argparse.Namespace) -> None:
    """Predict, print, write what the flags ask for.

    Args:
        parser: the configuration, with the checkpoint.
        arguments: see `tools.predict`.

    Raises:
        UserError: nothing can be predicted.
        RunError: some images could not be read; the others are answered.
    """
    prior = _prior(arguments.prior)
    if arguments.out is not None:
        predicted_rows.check_ending(arguments.out)
    if arguments.contact_sheet is not None:
        contact_sheet.check_ending(arguments.contact_sheet)
    files = image_files(arguments.images)
    keep_freed_memory()
    network = TrainedNetwork.open(parser, weights=arguments.weights)
    calibration = network.calibration(arguments.calibration)
    stored = None if arguments.sets is None else _stored_sets(network)
    calibrator = None if calibration is None else calibration.of(network.weights, ENSEMBLE)
    began = time.perf_counter()
    answers = network.predict(files, prior=prior, calibrator=calibrator)
    rate = len(files) / (time.perf_counter() - began)
    told, members = [prior.assumption], None
    if stored is not None:
        sets = answered_sets(
            answers,
            stored,
            weights=network.weights,
            alpha=arguments.sets,
            prior=prior,
            calibrated=calibrator is not None,
        )
        members = sets.members
        told += [*sets.promise, f"{sets.sizes.mean():.2f} classes a set, at most {sets.sizes.max()}"]
    rows = as_rows(answers, topk=arguments.topk, reject_below=arguments.reject_below, sets=members)
    written = []
    if arguments.out is not None:
        predicted_rows.write_rows(arguments.out, rows)
        written.append(arguments.out)
    if arguments.contact_sheet is not None:
        seen = network.images(answers.files)
        contact_sheet.write_contact_sheet(arguments.contact_sheet, rows, seen, [_title(network), *told])
        written.append(arguments.contact_sheet)
    print(f"{_title(network)}: {len(answers.files)} images, {rate:.0f} a second")
    print("\n".join(told))
    print(f"\n{_shown(rows)}")
    if written:
        print(f"\nWritten to {', '.join(map(str, written))}")
    if answers.unreadable:
        names = ", ".join(answers.unreadable[:_NAMED]) + ", …" * (len(answers.unreadable) > _NAMED)
        raise RunError(f"{len(answers.unreadable)} of {len(files)} images can't be read: {names}")


def _title(network: TrainedNetwork) -> str:
    return f"{network.run}, {network.checkpoint.name}"


def _prior(name: str | None) -> TestPrior:
    prior = prior_named(name or "none")
    if prior.name == "known" or prior.held_out == "needed":
        raise UserError(f"--prior {prior.name}: needs labelled images, which are not given here; give auto, or a file")
    return prior


def _stored_sets(network: TrainedNetwork) -> StoredSets:
    stored = stored_sets(network.checkpoint, network.digest, len(network.class_names))
    stored.of(network.weights)  # before the images are read
    return stored


def _shown(rows: Sequence[dict[str, object]]) -> str:
    cells, header = [], ["image", "class", "probability %", "entropy"]
    for row in rows[:SHOWN]:
        name = "(rejected)" if row.get("rejected") else str(row["class"])
        cells.append([str(row["image"]), name, percent(float(str(row["probability"]))), f"{row['entropy']:.2f}"])
        if "set" in row:
            members = str(joined(row["set"]))
            cells[-1].append(members if len(members) <= _LONGEST else f"{members[: _LONGEST - 1]}…")
    if rows and "set" in rows[0]:
        header.append("set")
    more = f"\n(the first {SHOWN} of {len(rows)}; --out writes all)" if len(rows) > SHOWN else ""
    return table(header, cells) + more
