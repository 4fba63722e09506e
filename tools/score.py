"""Score the predictions of any program: `python -m tools.score LOGITS --kind … --home …`.

The same metrics, test distributions, priors and result files as the evaluation scripts have, for logits or
probabilities [N, C], or [N, E, C] of several experts. Without labels: the test prior that the predictions speak for,
and the predictions under it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.evaluation.calibration_flag import METHODS, checked_choice
from trainer.evaluation.distributions import checked_name, choices
from utils.config.command_line import tool_parser
from utils.errors import UserError, run_main
from utils.slow_imports import slow_imports

EXAMPLES = """examples:
  python -m tools.score test.npy --labels labels.npy --kind logits --home uniform
  python -m tools.score test.csv --labels labels.csv --kind probabilities --home train \\
      --train-counts counts.csv --prior known --out scores
  python -m tools.score all.npz --key test --labels all.npz --labels-key y --kind logits --home train \\
      --train-counts counts.csv --distributions forward50 uniform backward50
  python -m tools.score unlabelled.npy --kind logits --home train --train-counts counts.csv --prior tilt --out corrected

files:
  LOGITS      .npy; .npz; .csv of a column for each class, with or without a header of their names; .parquet, where
              pandas reads it. A row for each image
  --labels    a label for each image: names of classes, or indices from 0 where none of them is a name
  counts.csv  a class and its training images in each line; or a JSON object of them

kind and home, which numbers alone don't say:
  --kind probabilities   at least 0, each image's sum 1: predict_proba of scikit-learn, a softmax. Zeros count as 1e-12.
                         Several experts are combined as a product
  --kind logits          anything before a softmax: decision_function, log-probabilities
  --home train           trained by plain cross-entropy: right where classes are as frequent as in training
  --home uniform         trained for the balanced error: balanced sampling or softmax, logit adjustment, BalPoE
  --home prior.csv       neither: the frequencies that it was trained under, a class and its frequency in each line"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of this command."""
    usage = "LOGITS [--labels FILE] [--train-counts FILE] --kind KIND --home HOME [flags]"
    parser = tool_parser("tools.score", usage, __doc__, EXAMPLES)
    _add_predictions(parser)
    _add_questions(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write results.json and results.csv there; without labels test_prior.csv and predictions.csv",
    )
    return parser


def _add_predictions(parser: argparse.ArgumentParser) -> None:
    """What was predicted, and what is known of it."""
    add = parser.add_argument
    add("logits", type=Path, metavar="LOGITS", help="logits or probabilities of the test images")
    add("--kind", required=True, choices=("logits", "probabilities"), help="what they are")
    add(
        "--home",
        required=True,
        action="append",
        metavar="uniform|train|FILE",
        help="class prior that they are right under; of the experts' mean, or once for each expert",
    )
    add("--labels", type=Path, metavar="FILE", help="labels of the test images")
    add(
        "--train-counts",
        type=Path,
        metavar="FILE",
        help="training images of each class: for the groups many, medium "
        "and few, for forward and backward shifts, for --home train and --prior tilt",
    )
    add("--key", metavar="NAME", help="which array of LOGITS, a .npz file of several")
    add("--labels-key", metavar="NAME", help="which array of the file of labels")


def _add_questions(parser: argparse.ArgumentParser) -> None:
    """What is asked of the predictions."""
    add = parser.add_argument
    add(
        "--prior",
        metavar="NAME|FILE",
        help="what is assumed of the test prior: none (default with labels), known (from the labels), em, map-em or "
        "tilt (estimated; default without labels: tilt, or map-em without training counts), or a CSV or JSON of it",
    )
    add(
        "--distributions",
        nargs="+",
        metavar="NAME|FILE",
        type=checked_name,
        help=f"score the ensemble on selections of the images, {', '.join(choices())}, a CSV or JSON of class priors, "
        "or a list of images' numbers from 0 and labels (.txt); default: on all of them, and each expert, too",
    )
    add("--intervals", action="store_true", help="95 %% bootstrap intervals of every metric over the images")
    add(
        "--held-out",
        type=Path,
        metavar="LOGITS",
        help="the same for labelled images that were held out from training, of the same kind, under the same --key: "
        "for --calibration, for --prior bbse and rlls, and for better estimates of the others",
    )
    add("--held-out-labels", type=Path, metavar="FILE", help="their labels, under the same --labels-key")
    add(
        "--calibration",
        default="none",
        metavar="none|ts|bcts|vs|sts|FILE",
        help="calibrate first: ts, bcts, vs or sts, fitted to the held-out images (tools.calibrate --help says "
        "what they are); or a file of tools.calibrate; default: none",
    )


def main() -> None:
    """Score the predictions, or correct them."""
    arguments = build_parser().parse_args()
    if "train" in arguments.home and arguments.train_counts is None:
        raise UserError("--home train: needs the training images of each class: --train-counts FILE")
    if arguments.labels is None:
        for flag, given in (("--labels-key", arguments.labels_key), ("--distributions", arguments.distributions)):
            if given:
                raise UserError(f"{flag}: needs labels, too: --labels FILE")
    checked_choice(arguments.calibration, ("none", *METHODS))
    if (arguments.held_out is None) != (arguments.held_out_labels is None):
        raise UserError("--held-out and --held-out-labels need each other")
    if arguments.calibration in METHODS and arguments.held_out is None:
        raise UserError(
            f"--calibration {arguments.calibration}: is fitted to labelled images that were held out from training: "
            "--held-out LOGITS --held-out-labels FILE"
        )
    with slow_imports():
        from trainer.evaluation.score_command import print_score  # noqa: PLC0415 - takes seconds
    print_score(arguments)


if __name__ == "__main__":
    run_main(main)
