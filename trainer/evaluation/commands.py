"""What the evaluation scripts do: open a run by its checkpoint, score it, print and keep the results."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_loader.loader import ImageDataLoader
from trainer.build import build_loader, build_model, build_precision, load_weights
from trainer.config.run_config import find_problems
from trainer.evaluation.distributions import PRESETS, Distribution, distributions, evaluate
from trainer.evaluation.predictions import Predictions, predict, stored_predictions
from trainer.evaluation.results import class_table, result_row, results_table, write_results
from utils.config.command_line import script_parser
from utils.config.parser import ConfigParser
from utils.distributed.context import DistributedContext, launch_environment, process_group, report_once
from utils.distributed.device import choose_device, set_visible_gpus
from utils.errors import UserError
from utils.files.checkpoint import load_checkpoint
from utils.reporting.logger import set_up_logging

_MOST_CLASSES_SHOWN = 20


@dataclass(frozen=True)
class TestRun:
    """A trained run on its test split.

    Args:
        checkpoint: the network's file.
        loader: of the test split.
        predictions: of the network on the whole test split.
        description: configuration, checkpoint and training images, in a line.
    """

    __test__ = False

    checkpoint: Path
    loader: ImageDataLoader
    predictions: Predictions
    description: str

    def score(
        self, distribution: Distribution, *, protocol: str, correct_prior: bool = False, expert: int | None = None
    ) -> dict[str, Any]:
        """A row of results."""
        scores = evaluate(
            self.predictions, distribution, self.loader.cls_num_list, correct_prior=correct_prior, expert=expert
        )
        return result_row(
            scores,
            checkpoint=self.checkpoint,
            protocol=protocol,
            prior="known" if correct_prior else "none",
            distribution=distribution.name,
            predictor="ensemble" if expert is None else f"expert {expert}",
            images=len(distribution.indices),
        )


def open_run(arguments: argparse.Namespace) -> TestRun | None:
    """Load the checkpoint that `-r` names with the configuration beside it, and predict its test split once.

    Processes that torchrun has started share the work, and all but rank 0 end with None.
    """
    environment = launch_environment()
    with report_once(environment):
        if not arguments.resume:
            raise UserError("no checkpoint: give one with -r CHECKPOINT")
        config = ConfigParser.from_args(arguments)
        config.validate(find_problems)
        set_up_logging(
            config["trainer"].get("verbosity", 2) if environment.is_main else 0, config_file=arguments.log_config
        )
        set_visible_gpus(arguments.device)
        device = choose_device(config.get("n_gpu", 1), environment)
    with process_group(environment, device) as distributed:
        return _predicted(config, Path(arguments.resume), device, distributed)


def _predicted(
    config: ConfigParser, checkpoint: Path, device: torch.device, distributed: DistributedContext
) -> TestRun | None:
    with distributed.main_first():
        content = load_checkpoint(checkpoint)
        loader = build_loader(config, processes=distributed.local_size).of_split("test")
    precision = build_precision(config, device)

    def run_network() -> tuple[np.ndarray, np.ndarray] | None:
        network = build_model(config, device)
        load_weights(network, content, checkpoint)
        return predict(network, loader, device, precision=precision, distributed=distributed)

    predictions = stored_predictions(
        checkpoint, config.config, loader.targets, run_network, precision=precision, distributed=distributed
    )
    if predictions is None:
        return None
    description = (
        f"{config['name']}, {checkpoint.name} (epoch {content.get('epoch', 'unknown')}): trained on "
        f"{sum(loader.cls_num_list)} images of {loader.num_classes} classes, {max(loader.cls_num_list)} to "
        f"{min(loader.cls_num_list)} a class"
    )
    return TestRun(checkpoint, loader, predictions, description)


def run_test() -> None:
    """`test.py`: the uniform test split, the ensemble and each expert alone, every class."""
    parser = script_parser(
        "Evaluate a checkpoint on the uniform test split: the ensemble, each expert alone, every class.",
        "  python test.py -r saved/digits/ir40/models/NAME/RUN/checkpoint-epoch60.pth",
    )
    run = open_run(parser.parse_args())
    if run is None:
        return
    uniform = Distribution("uniform", np.arange(len(run.predictions.targets)))
    experts: list[int | None] = [None]
    if run.predictions.logits.shape[1] > 1:
        experts += range(run.predictions.logits.shape[1])
    rows = [run.score(uniform, protocol="test", expert=expert) for expert in experts]
    print(run.description)
    if run.loader.num_classes <= _MOST_CLASSES_SHOWN:
        print(f"\n{class_table(rows[0], run.loader.class_names, run.loader.cls_num_list)}")
    print(f"\n{results_table(rows, first='predictor')}\n")
    _keep(run, rows)


def run_sweep(preset_name: str) -> None:
    """`test_all_*.py`: the uniform test split and its forward and backward shifts."""
    preset = PRESETS[preset_name]
    script = f"test_all_{preset_name}.py"
    parser = script_parser(
        f"Evaluate a checkpoint on shifted test distributions ({preset.title}): the network runs once over the test "
        "split, the distributions are selections of it.",
        f"  python {script} -r CHECKPOINT\n  python {script} -r CHECKPOINT --posthoc_bias_correction",
    )
    parser.add_argument(
        "--posthoc_bias_correction",
        action="store_true",
        help="the test prior is known: add its logarithm to the logits",
    )
    arguments = parser.parse_args()
    run = open_run(arguments)
    if run is None:
        return
    rows = [
        run.score(distribution, protocol="shifts", correct_prior=arguments.posthoc_bias_correction)
        for distribution in distributions(run.loader, preset.ratios)
    ]
    print(run.description)
    print("with the known test prior" if arguments.posthoc_bias_correction else "without knowledge of the test prior")
    print(f"\n{results_table(rows, first='distribution')}\n")
    _keep(run, rows)


def _keep(run: TestRun, rows: list[dict[str, Any]]) -> None:
    print("written: " + ", ".join(str(path) for path in write_results(run.checkpoint.parent, rows)))
