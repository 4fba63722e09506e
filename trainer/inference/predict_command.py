"""What `python -m tools.predict` does: image files in, a table of classes and probabilities out.

`N` images, `E` experts, `C` classes.
"""

from __future__ import annotations

import argparse
import glob
import time
from collections.abc import Sequence
from pathlib import Path

from data_loader.datasets.folder_walk import FolderWalk
from model.posthoc_calibration import Calibrator
from trainer.evaluation.calibrations import check_calibration, read_calibration, stored_calibration
from trainer.evaluation.prior_flags import prior_named
from trainer.evaluation.priors import TestPrior
from trainer.inference import contact_sheet, predicted_rows
from trainer.inference.predicted_rows import as_rows
from trainer.inference.trained_network import TrainedNetwork
from utils.config.parser import ConfigParser
from utils.errors import RunError, UserError
from utils.reporting.tables import percent, table

SHOWN = 20
_ENSEMBLE = "ensemble"
_NAMED = 5


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
    network = TrainedNetwork.open(parser, weights=arguments.weights)
    calibrator = _calibrator(network, arguments.calibration)
    began = time.perf_counter()
    answers = network.predict(files, prior=prior, calibrator=calibrator)
    rate = len(files) / (time.perf_counter() - began)
    rows = as_rows(answers, topk=arguments.topk, reject_below=arguments.reject_below)
    written = []
    if arguments.out is not None:
        predicted_rows.write_rows(arguments.out, rows)
        written.append(arguments.out)
    if arguments.contact_sheet is not None:
        contact_sheet.write_contact_sheet(arguments.contact_sheet, rows)
        written.append(arguments.contact_sheet)
    images = f"{len(answers.files)} images, {rate:.0f} a second"
    print(f"{network.run}, {network.checkpoint.name}: {images}\n{prior.assumption}")
    print(f"\n{_shown(rows)}")
    if written:
        print(f"\nWritten to {', '.join(map(str, written))}")
    if answers.unreadable:
        names = ", ".join(answers.unreadable[:_NAMED]) + ", …" * (len(answers.unreadable) > _NAMED)
        raise RunError(f"{len(answers.unreadable)} of {len(files)} images can't be read: {names}")


def image_files(given: Sequence[str]) -> list[str]:
    """The image files that paths, folders (with those in them), lists (.txt, a path a line) and globs name, each once.

    Raises:
        UserError: one of them names none.
    """
    found: dict[str, None] = {}
    for name in given:
        path = Path(name)
        if path.is_dir():
            files = FolderWalk().images_below(path)
        elif path.suffix.lower() == ".txt" and path.is_file():
            files = _listed(path)
        elif path.exists():
            files = [name]
        else:
            files = sorted(glob.glob(name, recursive=True))
        if not files:
            raise UserError(f"{name}: names no image files")
        found |= dict.fromkeys(files)
    return list(found)


def _prior(name: str | None) -> TestPrior:
    prior = prior_named(name or "none")
    if prior.name == "known" or prior.held_out == "needed":
        raise UserError(f"--prior {prior.name}: needs labelled images, which are not given here; give auto, or a file")
    return prior


def _calibrator(network: TrainedNetwork, given: str) -> Calibrator | None:
    """The one that the flag names, of the ensemble; None: none."""
    if given == "none":
        return None
    if given == "stored":
        stored = stored_calibration(network.checkpoint, network.digest)
    else:
        stored = read_calibration(Path(given), network.digest)
    check_calibration(stored, len(network.class_names))
    return stored.of(network.weights, _ENSEMBLE)


def _listed(path: Path) -> list[str]:
    """The paths in a text file, a line each, from the folder that the file is in."""
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return [str(path.parent / line.strip()) for line in lines if line.strip()]


def _shown(rows: Sequence[dict[str, object]]) -> str:
    cells = []
    for row in rows[:SHOWN]:
        name = "(rejected)" if row.get("rejected") else str(row["class"])
        cells.append([str(row["image"]), name, percent(float(str(row["probability"]))), f"{row['entropy']:.2f}"])
    more = f"\n(the first {SHOWN} of {len(rows)}; --out writes all)" if len(rows) > SHOWN else ""
    return table(["image", "class", "probability %", "entropy"], cells) + more
