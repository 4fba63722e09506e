"""The evaluation scripts: their flags, read with the configuration before the seconds that PyTorch takes to import."""

from __future__ import annotations

import argparse

from trainer.evaluation.calibration_flag import add_calibration_flag
from trainer.evaluation.distributions import checked_name, choices
from trainer.evaluation.presets import SWEEPS
from trainer.evaluation.streams.flags import add_stream_flags
from utils.config.checkpoint_flags import read_run
from utils.config.command_line import script_parser
from utils.config.parser import ConfigParser
from utils.distributed.environment import LaunchEnvironment, launch_environment, report_once
from utils.errors import UserError
from utils.slow_imports import slow_imports

COLUMNS = """columns of the table:
  predictor      the ensemble (plain mean of the experts' logits), or one expert alone
  distribution   the test distribution: a selection of the test images
  weights        where a checkpoint has several networks: raw, or averaged over training
  images         test images
  top-1 %        share of the images whose class has the largest logit
  top-5 %        share of the images whose class is among the five largest logits
  balanced %     mean of the class accuracies: every class counts equally
  many %         mean accuracy of the classes with more than 100 training images
  medium %       the same, 20 to 100 training images
  few %          the same, fewer than 20 training images
  ECE %          expected calibration error: by how much confidence and accuracy differ, over 15 bins of confidence
  ECE before %   with a calibration: the ECE without it, under the same test prior
  prior L1       with an estimated test prior: sum of its differences to the true one (0 to 2)
  ± L1           how far 95 % of other draws of as many images would be from that estimate
  estimate       how it came about: γ of the tilt π_train^γ; the part of the images that is elsewhere than that says
  trained on     test images that were trained on, where there are some
  (a dash: there are no such images)
and of the table by class, for test sets of few classes:
  training images, test images    of the class
  accuracy %     share of the class's test images that are classified rightly

"""


def evaluation_parser(description: str, examples: str) -> argparse.ArgumentParser:
    """The flags of every evaluation script: `script_parser`'s, the test prior's, and one that published ones have."""
    parser = script_parser(description, examples, columns=COLUMNS)
    parser.add_argument(
        "--prior",
        metavar="NAME|FILE",
        help="what is assumed of the test prior π_test: none (default); known: the test set's own class frequencies; "
        "auto: estimated from the test images without their labels, as far as they give evidence (recommended); em, "
        "map-em or tilt: other estimates from them; bbse or rlls: estimated with images "
        "held out from training, too; or a CSV or JSON of class,frequency. Then log π_test − log π_home is added to "
        "the logits, π_home being what the predictor is right for",
    )
    add_calibration_flag(parser)
    parser.add_argument(
        "--posthoc_bias_correction",
        action="store_true",
        help="the published correction: log π_test is added, right for a predictor that is unbiased for uniform",
    )
    parser.add_argument(
        "--allow-trained",
        action="store_true",
        help="evaluate on own images although some were trained on, and count these; else that is an error",
    )
    parser.add_argument(
        "--intervals",
        action="store_true",
        help="95 %% bootstrap intervals of every metric over the test images: of top-1 and ECE in the table, of all in "
        "results.json",
    )
    parser.add_argument(
        "--no-report", action="store_true", help="write no report.html into the run's folder afterwards"
    )
    parser.add_argument(
        "--aggregation",
        choices=("mean", "sade"),
        default="mean",
        help="how the experts become one predictor: the mean of their logits (default), or with SADE's weights, learnt "
        "from two random views of each distribution's unlabelled images",
    )
    add_stream_flags(parser)
    parser.add_argument("--validate", "--val", nargs="?", metavar="X", help="accepted, as published, and has no effect")
    return parser


def run_test() -> None:
    """`test.py`: the test split, the ensemble and each expert alone, every class."""
    flags = evaluation_parser(
        "Evaluate a checkpoint on its test split: the ensemble, each expert alone, every class.",
        "  python test.py -r saved/digits/ir40/models/NAME/RUN/checkpoint-epoch60.pth",
    )
    parser, environment, arguments = _read(flags)
    with slow_imports():
        from trainer.evaluation.commands import print_test  # noqa: PLC0415 - takes seconds
    print_test(parser, environment, arguments)


def run_sweep(preset_name: str) -> None:
    """`test_all_*.py`: the uniform test split and its forward and backward shifts, or distributions by name."""
    preset = SWEEPS[preset_name]
    script = f"test_all_{preset_name}.py"
    flags = evaluation_parser(
        f"Evaluate a checkpoint on shifted test distributions ({preset.title}): the network runs once over the test "
        "split, the distributions are selections of it.",
        f"  python {script} -r CHECKPOINT\n  python {script} -r CHECKPOINT --prior known\n"
        f"  python {script} -r CHECKPOINT --distributions forward100 uniform backward100",
    )
    flags.add_argument(
        "--distributions",
        nargs="+",
        metavar="NAME|FILE",
        type=checked_name,
        help=f"test distributions, {', '.join(choices())}, a CSV or JSON of class priors, or a list of test images "
        f"(.txt); default: {' '.join(preset.distributions)}",
    )
    parser, environment, arguments = _read(flags)
    with slow_imports():
        from trainer.evaluation.commands import print_sweep  # noqa: PLC0415 - takes seconds
    print_sweep(preset, parser, environment, arguments)


def _read(flags: argparse.ArgumentParser) -> tuple[ConfigParser, LaunchEnvironment, argparse.Namespace]:
    arguments = flags.parse_args()
    with report_once(launch_environment()):
        if not arguments.resume:
            raise UserError("no checkpoint: give one with -r CHECKPOINT")
    return *read_run(arguments), arguments
