"""From flags to configurations: every combination of the values of `--sweep`, with each seed; without PyTorch."""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from typing import Any

from trainer.many_runs.flags import Asked
from trainer.pretrained import with_pretrained
from utils.config.assignments import read_value
from utils.config.parser import AUTOMATIC, ConfigParser


@dataclass(frozen=True)
class Combination:
    """One of several runs.

    Args:
        label: in what it differs from the others, as in "seed=2 optimizer.args.lr=0.1".
        parser: its configuration.
    """

    label: str
    parser: ConfigParser


def combinations(arguments: argparse.Namespace, asked: Asked) -> list[Combination]:
    """Every run that was asked for; the seeds of a combination follow one another.

    Raises:
        UserError: the configuration can't be read, or a value is JSON that can't be taken.
    """
    seed_flag = arguments.seed[1] if arguments.seed is not None else ""
    choices = [[(path, text, "--sweep") for text in texts] for path, texts in asked.sweeps.items()]
    choices += [[("seed", text, seed_flag) for text in asked.seeds]] if asked.seeds else []
    found = []
    for chosen in itertools.product(*choices):
        alone = argparse.Namespace(**vars(arguments))
        alone.resume = AUTOMATIC
        if asked.seeds:
            alone.seed = None
        values: dict[str, tuple[Any, str]] = {}
        for path, text, flag in chosen:
            values[path] = read_value(text, f"{flag} {path}"), flag
        several = [f"{path}={text}" for (path, text, _), texts in zip(chosen, choices, strict=True) if len(texts) > 1]
        seed_first = sorted(several, key=lambda part: not part.startswith("seed="))
        parser = with_pretrained(ConfigParser.from_args(alone, values), alone)
        found.append(Combination(" ".join(seed_first) or str(parser.get("name", "run")), parser))
    return found
