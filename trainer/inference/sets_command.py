"""What `python -m tools.prediction_sets` does: scores of held-out images are kept, for sets of images to come.

`M` held-out images, `C` classes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_loader.datasets.class_folders import find_images
from data_loader.datasets.contents import file_digests
from data_loader.kept_split import KeptSplit
from model.calibration import softmax
from model.prediction_sets import LabelScores
from model.priors import mean_home
from trainer.config.run_config import RunConfig, run_config
from trainer.evaluation.aggregations.mean import mean_of_experts
from trainer.evaluation.held_out_images import counts_in_words, open_held_out
from trainer.evaluation.results import RAW
from trainer.inference.stored_sets import SETS_FILE, StoredSets
from trainer.inference.trained_network import TrainedNetwork
from utils.config.parser import ConfigParser
from utils.distributed.environment import LaunchEnvironment
from utils.errors import UserError
from utils.files.checkpoint_names import checkpoint_name
from utils.reporting.tables import table

_ALPHAS = (0.05, 0.1, 0.2)
_BELOW = "the held-out images' own sets; promised for images like these, all classes together, and of no single class"
_HOW = "or give labelled images that nothing has seen, with --labelled FOLDER"


class Labelled(NamedTuple):
    """What the ensemble says of labelled images that nothing else has seen.

    Attributes:
        logits: [M, C] by weights: "raw", "averaged".
        labels: [M].
        home: [C], the class prior that these are right under; None: unknown.
        in_words: what the images are.
        digest: SHA-256 of the checkpoint.
        description: of the checkpoint.
    """

    logits: Mapping[str, np.ndarray]
    labels: np.ndarray
    home: np.ndarray | None
    in_words: str
    digest: str
    description: str


def print_sets(parser: ConfigParser, environment: LaunchEnvironment, arguments: argparse.Namespace) -> None:
    """Fit a checkpoint's prediction sets and store them beside the checkpoint.

    Args:
        parser: the configuration, with the checkpoint.
        environment: the processes as they were launched.
        arguments: the flags, see `tools.prediction_sets`.

    Raises:
        UserError: there are no labelled images that nothing else has seen, or the predictor's own prior is unknown.
    """
    assert parser.resume is not None, "the flags were read"
    checkpoint = parser.resume
    if arguments.labelled is None:
        labelled = _held_out(parser, checkpoint, environment, arguments.log_config)
    else:
        labelled = _of_folder(parser, checkpoint, arguments.labelled)
    if labelled is None:
        return
    if labelled.home is None:
        raise UserError(
            "the method does not say which class prior its predictor is right for, and the score of a class starts "
            "from there: no prediction sets can be fitted"
        )
    probabilities = {weights: softmax(values.astype(np.float64)) for weights, values in labelled.logits.items()}
    by_weights = {
        weights: LabelScores.of(values, labelled.labels, home_prior=labelled.home)
        for weights, values in probabilities.items()
    }
    path = SETS_FILE.path(checkpoint)
    SETS_FILE.write(path, StoredSets(checkpoint.name, labelled.digest, labelled.in_words, by_weights))
    counts = np.bincount(labelled.labels, minlength=labelled.home.size).tolist()
    report = f"{counts_in_words(labelled.in_words, counts)}\n\n{_report(by_weights[RAW], probabilities[RAW])}"
    use = f"python -m tools.predict {checkpoint} IMAGES --sets"
    print(f"{labelled.description}\n{report}\n\nWritten to {path}; use it: {use}")


def require_unseen(config: RunConfig, checkpoint: Path) -> None:
    """Refuse validation images that have had a say in training: which epoch this is, or its learning rate.

    Raises:
        UserError: they have.
    """
    options = config.trainer
    planned = checkpoint.name == checkpoint_name(options.epochs)
    followed = config.lr_scheduler.type == "ReduceLROnPlateau"
    if options.validate and config.monitor.mode != "off" and (followed or not planned):
        raise UserError(
            f"{checkpoint}: the held-out images chose the epoch or the learning rate (trainer.monitor), and sets from "
            f"them would promise too much: take {checkpoint_name(options.epochs)}, train without --val, {_HOW}"
        )


def _held_out(
    parser: ConfigParser, checkpoint: Path, environment: LaunchEnvironment, log_config: str | None
) -> Labelled | None:
    require_unseen(run_config(parser, trained=True), checkpoint)
    opened = open_held_out(parser, environment, log_config)
    if opened is None:
        return None
    run, images = opened
    logits = {weights: mean_of_experts(values) for weights, values in images.logits.items()}
    home = None if run.homes is None else mean_home(run.homes)
    what = f"{len(images.targets)} labelled images held out from training"
    return Labelled(logits, images.targets, home, what, run.digest, run.description)


def _of_folder(parser: ConfigParser, checkpoint: Path, folder: Path) -> Labelled:
    network = TrainedNetwork.open(parser)
    listed = find_images(folder, network.class_names, base=folder)
    if not len(listed):
        raise UserError(f"--labelled {folder}: holds no images in folders that are named like the classes")
    files = [str(folder / os.fsdecode(path)) for path in listed.paths.tolist()]
    _require_new(files, KeptSplit.read(checkpoint.parent, len(network.class_names)), folder)
    logits = {}
    for weights in network.kinds_of_weights:
        opened = network if weights == network.weights else TrainedNetwork.open(parser, weights=weights)
        found = opened.expert_logits(files)
        logits[weights] = mean_of_experts(found.logits)  # [M, E, C] → [M, C]
    labels = np.delete(listed.targets, found.skipped)
    description = f"{network.run}, {checkpoint.name}: {len(network.class_names)} classes"
    what = f"{len(labels)} labelled images of {folder}"
    return Labelled(logits, labels, network.home, what, network.digest, description)


def _require_new(files: list[str], kept: KeptSplit | None, folder: Path) -> None:
    """Refuse images that the run was trained on, or that chose its epoch, as far as its folder says which these are."""
    if kept is None:
        return
    parts = ["train"] if kept.files["validation"] is kept.files["test"] else ["train", "validation"]
    seen = {kept.contents.get(path) for part in parts for path in kept.files[part].paths.tolist()} - {None}
    found = [file for file, digest in zip(files, file_digests(files), strict=True) if digest in seen]
    if found:
        raise UserError(
            f"--labelled {folder}: {len(found)} of {len(files)} images were used in training, by their contents: "
            f"{found[0]}{', …' if len(found) > 1 else ''}"
        )


def _report(scores: LabelScores, probabilities: np.ndarray) -> str:
    """A row for each α: how large sets of the held-out images themselves are, for their probabilities [M, C]."""
    rows = []
    for alpha in _ALPHAS:
        sets = scores.sets(alpha=alpha)
        sizes = sets.of(probabilities).sum(axis=1)
        largest = int(np.quantile(sizes, 0.9, method="inverted_cdf"))
        rows.append([f"{alpha:g}", f"{100 * (1 - alpha):g}", f"{sizes.mean():.2f}", f"{largest}"])
    return f"{table(['α', 'promised %', 'classes a set', '90 % of the sets have at most'], rows)}\n({_BELOW})"
