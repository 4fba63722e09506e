"""Prediction sets of trained runs: how often the right class is in them, for whom, and how large they are.

    python -m benchmarks.prediction_sets CHECKPOINT… --out sets.json

Every run must have held images out that nothing else was fitted to, no epoch and no temperature: trained with
`data_loader.args.validation_split`, without `--val`. Thresholds are fitted to these. *Coverage* and *size* are those on
a draw of the test split with the held-out images' class frequencies, of which split conformal prediction promises 1 − α
in the mean, and which falls into the stated interval for 95 % of draws. *macro*, *few* and *intrusion* (in which part
of the other classes' sets a class with at most two held-out images is) are of the whole test split: they don't depend
on how many images a class has.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import processor_name
from model.calibration import softmax
from model.prediction_sets import PredictionSets, fit_sets
from model.priors import adjust_logits, mean_home
from model.set_reports import coverage_interval, report_sets
from trainer.evaluation.aggregations.mean import mean_of_experts
from trainer.evaluation.distributions import select
from trainer.evaluation.distributions.split import TestSplit
from trainer.evaluation.opened_run import open_run
from utils.config.command_line import OneLineParser
from utils.config.parser import CONFIG_NAME, ConfigParser
from utils.distributed.environment import launch_environment
from utils.errors import UserError, run_main

SHIFTS = ("forward50", "uniform", "backward50")
WEIGHTS = (0.0, 0.5, 1.0)
SCORES = {"softmax, home": "as is", "softmax, held-out": "held-out", "prevalence": "as is"}
_FEW_HELD_OUT = 2


@dataclass(frozen=True)
class Labelled:
    """Logits [N, C] of the experts' mean, and labels [N]."""

    logits: np.ndarray
    labels: np.ndarray

    def __getitem__(self, images: np.ndarray) -> Labelled:
        return Labelled(self.logits[images], self.labels[images])


@dataclass(frozen=True)
class Run:
    """A run's predictions; `home` is the prior [C] that they are right under."""

    name: str
    held_out: Labelled
    test: Labelled
    home: np.ndarray
    split: TestSplit

    @property
    def held_out_counts(self) -> np.ndarray:
        return np.bincount(self.held_out.labels, minlength=len(self.home))

    def probabilities(self, images: Labelled, prior: np.ndarray | None = None) -> np.ndarray:
        """Posteriors [N, C], at home or under another prior."""
        return softmax(images.logits if prior is None else adjust_logits(images.logits, prior, home_prior=self.home))

    def draw(self, seed: int) -> np.ndarray:
        """Test images drawn with the held-out images' class frequencies, as many as the most frequent class allows."""
        random, prior = np.random.default_rng(seed), self.held_out_counts / self.held_out_counts.sum()
        available = self.split.sizes
        size = int(0.9 * np.min(available[prior > 0] / prior[prior > 0]))
        wanted = np.minimum(random.multinomial(size, prior), available)
        by_class = (np.flatnonzero(self.test.labels == label) for label in range(len(wanted)))
        return np.concatenate([random.choice(own, n, replace=False) for own, n in zip(by_class, wanted, strict=True)])


def read_run(checkpoint: Path) -> Run:
    parser = ConfigParser.from_file(checkpoint.parent / CONFIG_NAME, resume=checkpoint)
    opened = open_run(parser, launch_environment(), held_out="needed")
    assert opened is not None
    assert opened.held_out is not None
    if opened.homes is None:
        raise UserError(f"{checkpoint}: the prior that its predictor is at home on is unknown")
    held_out, test = (
        Labelled(mean_of_experts(each.logits["raw"]).astype(np.float64), each.targets)
        for each in (opened.held_out, opened.predictions)
    )
    return Run(checkpoint.parent.parent.name, held_out, test, mean_home(opened.homes), opened.split)


def fitted(run: Run, name: str, alpha: float, **options: Any) -> tuple[PredictionSets, np.ndarray | None]:
    """Sets of a score in `SCORES`, and the prior that probabilities are brought to before (None: none)."""
    prior = run.held_out_counts if SCORES[name] == "held-out" else None
    options |= {"alpha": alpha, "score": name.partition(",")[0], "home_prior": run.home}
    return fit_sets(run.probabilities(run.held_out, prior), run.held_out.labels, **options), prior


def compared(run: Run, alpha: float, seed: int) -> Iterator[dict[str, Any]]:
    """Scores and class weights where the class frequencies are the held-out images'."""
    drawn = run.draw(seed)
    low, high = coverage_interval(len(run.held_out.labels), len(drawn), alpha)
    rare = run.held_out_counts <= _FEW_HELD_OUT
    for name in SCORES:
        for class_weight in WEIGHTS:
            sets, prior = fitted(run, name, alpha, class_weight=class_weight)
            of_all = sets.of(run.probabilities(run.test, prior))
            whole = report_sets(of_all, run.test.labels, run.split.training_counts)
            on_draw = report_sets(of_all[drawn], run.test.labels[drawn], run.split.training_counts)
            yield {
                "score": name,
                "w": class_weight,
                "coverage": on_draw.coverage,
                "interval": [low, high],
                "within": bool(low <= on_draw.coverage <= high),
                "size": on_draw.mean_size,
                "size_90": on_draw.size_90,
                "empty": on_draw.empty,
                "macro": whole.macro_coverage,
                **whole.group_coverage,
                "size_uniform": whole.mean_size,
                "intrusion": float(whole.intrusion[rare].max()) if rare.any() else float("nan"),
                "class_coverage": whole.class_coverage.tolist(),
            }


def shifted(run: Run, alpha: float) -> Iterator[dict[str, Any]]:
    """Weighted thresholds under the test set's own prior, which is known, and unweighted ones beside them."""
    for distribution in select(SHIFTS, run.split):
        images = run.test[distribution.indices]
        target = np.bincount(images.labels, minlength=len(run.home))
        for name in SCORES:
            of_weights = {}
            for how, target_prior in (("weighted", target), ("not weighted", None)):
                sets, prior = fitted(run, name, alpha, target_prior=target_prior)
                report = report_sets(
                    sets.of(run.probabilities(images, prior)), images.labels, run.split.training_counts
                )
                of_weights[how] = {
                    "coverage": report.coverage,
                    "macro": report.macro_coverage,
                    "size": report.mean_size,
                    "effective_images": sets.effective_images,
                    "in_every_set": int(np.isinf(sets.thresholds).sum()),
                }
            yield {"distribution": distribution.name, "images": len(images.labels), "score": name, **of_weights}


def cell(values: list[float], factor: float = 100, digits: int = 1) -> str:
    array = factor * np.array(values, float)
    return f"{array.mean():.{digits}f} ± {array.std(ddof=1) if len(array) > 1 else 0:.{digits}f}"


def markdown(runs: list[dict[str, Any]]) -> str:
    """Both tables, mean ± standard deviation over the runs."""
    lines = [
        "| score | w | coverage % | within 95 % | size | 90 % size | macro % | few % | largest intrusion % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for rows in zip(*(run["compared"] for run in runs), strict=True):
        of = {name: [row[name] for row in rows] for name in rows[0]}
        cells = [cell(of["coverage"]), f"{sum(of['within'])} of {len(rows)}", cell(of["size"], 1, 2)]
        cells += [cell(of["size_90"], 1, 1), *(cell(of[name]) for name in ("macro", "few", "intrusion"))]
        lines.append(f"| {rows[0]['score']} | {rows[0]['w']:g} | {' | '.join(cells)} |")
    lines += [
        "",
        "| test | score | coverage %, weighted | size | macro % | effective images | classes in every set "
        "| coverage %, not weighted | size |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for rows in zip(*(run["shifted"] for run in runs), strict=True):
        of = {
            (how, name): [row[how][name] for row in rows]
            for how in ("weighted", "not weighted")
            for name in rows[0][how]
        }
        cells = [cell(of["weighted", "coverage"]), cell(of["weighted", "size"], 1, 2), cell(of["weighted", "macro"])]
        cells += [cell(of["weighted", "effective_images"], 1, 1), cell(of["weighted", "in_every_set"], 1, 1)]
        cells += [cell(of["not weighted", "coverage"]), cell(of["not weighted", "size"], 1, 2)]
        lines.append(f"| {rows[0]['distribution']} | {rows[0]['score']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = OneLineParser(
        prog="python -m benchmarks.prediction_sets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--alpha", type=float, default=0.1, help="part of the sets that may miss (default %(default)s)")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    results = []
    for number, checkpoint in enumerate(arguments.checkpoints, start=1):
        run = read_run(checkpoint)
        results.append(
            {
                "run": run.name,
                "held_out_counts": run.held_out_counts.tolist(),
                "training_counts": np.asarray(run.split.training_counts).tolist(),
                "compared": list(compared(run, arguments.alpha, seed=number)),
                "shifted": list(shifted(run, arguments.alpha)),
            }
        )
    print(markdown(results))
    if arguments.out:
        machine = {"processor": processor_name(), "torch": version("torch"), "numpy": version("numpy")}
        content = {"alpha": arguments.alpha, "machine": machine, "runs": results}
        arguments.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    run_main(main)
