"""The flags of train.py that ask for several runs, and what is wrong with them as far as that shows without PyTorch."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from utils.config.assignments import add_assignment_flag, read_value, split_assignment
from utils.config.parser import AUTOMATIC
from utils.distributed.environment import LaunchEnvironment
from utils.errors import UserError

LAUNCHERS = ("ray", "slurm")
_SWEEP_FORM, _OPTION_FORM = "a.b.c=V1,V2", "NAME=VALUE"
_PLACES = ("name", "trainer.save_dir")  # where runs lie: those of one command lie together


@dataclass(frozen=True)
class Asked:
    """What was asked for.

    Args:
        seeds: as they were typed; empty: that of the configuration.
        sweeps: path of a key → its values, as they were typed.
        launcher: one of `LAUNCHERS`; None: this machine.
        options: of the launcher, name → value.
    """

    seeds: tuple[str, ...]
    sweeps: Mapping[str, tuple[str, ...]]
    launcher: str | None
    options: Mapping[str, Any]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give train.py's parser `--sweep`, `--launcher` and `--launcher_option`; several seeds are `--seed`'s."""
    group = parser.add_argument_group("several runs")
    add_assignment_flag(
        group,
        "--sweep",
        _SWEEP_FORM,
        "a run with each of these values of a key, with each seed; repeated: with each combination. The same "
        "command again goes on with what is not finished",
    )
    group.add_argument(
        "--launcher",
        choices=LAUNCHERS,
        help="who starts the runs: ray (pip install ray) or slurm (pip install submitit); default: this command, one "
        "after the other, or side by side on the GPUs of this machine",
    )
    text = "an option of the launcher, as in slurm_partition=gpu; may be repeated"
    add_assignment_flag(group, "--launcher_option", _OPTION_FORM, text)


def asked_for(arguments: argparse.Namespace, environment: LaunchEnvironment) -> Asked | None:
    """What several seeds, `--sweep` and `--launcher` ask for; None: a single run of this process.

    Raises:
        UserError: a flag has another form, or does not go with another.
    """
    texts = arguments.seed[0] if arguments.seed is not None else ()
    seeds = () if isinstance(texts, str) else tuple(texts)
    sweeps: dict[str, tuple[str, ...]] = {}
    for assignment in arguments.sweep:
        path, values = split_assignment("--sweep", assignment, _SWEEP_FORM, needs_value=True)
        if path in sweeps:
            raise UserError(f"--sweep {path}: given twice; give all values at once: {path}=V1,V2")
        if path in _PLACES:
            raise UserError(f"--sweep {path}: the runs of a sweep lie together; give --name or --save_dir once")
        sweeps[path] = tuple(split_values(values))
        if "" in sweeps[path]:
            raise UserError(f"--sweep {assignment}: expected a value before and after each comma")
    options = {}
    for assignment in arguments.launcher_option:
        name, value = split_assignment("--launcher_option", assignment, _OPTION_FORM, needs_value=True)
        options[name] = read_value(value.strip(), f"--launcher_option {name}")
    if options and arguments.launcher is None:
        raise UserError("--launcher_option: is for a --launcher, and none is given")
    if not (seeds or sweeps or arguments.launcher):
        return None
    _refuse_others(arguments, environment)
    return Asked(seeds, sweeps, arguments.launcher, options)


def split_values(text: str) -> list[str]:
    """`"0.1,[0, 1],x"` → `["0.1", "[0, 1]", "x"]`: commas within brackets, braces and quotes belong to a value."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        if letter == '"':
            quoted = not quoted
        elif not quoted:
            depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth <= 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _refuse_others(arguments: argparse.Namespace, environment: LaunchEnvironment) -> None:
    """Flags and circumstances that are about one run."""
    if arguments.images is not None:
        raise UserError(
            "--images chooses the configuration of one run; for several, train one with it first, and then: "
            "python train.py -c RUN/config.json --seed 1 2 3"
        )
    if arguments.resume not in (None, AUTOMATIC):
        raise UserError(
            f"-r {arguments.resume}: goes on with one run; leave it out: each of several runs goes on from its own "
            "newest checkpoint (to start all from the same weights: --initialise FILE)"
        )
    if arguments.device is not None and arguments.launcher is not None:
        raise UserError(f"-d {arguments.device}: a launcher chooses the GPUs itself; leave it out")
    if environment.size > 1 or environment.launch:
        raise UserError("torchrun starts the processes of one run; for several runs: python train.py, without it")
