"""Numbers that PyTorch's optimisers and schedules take without a word, and that have no meaning.

Their hints say `float` and their constructors refuse some: what they refuse is not repeated here. A name means the same
in all of them. Sources: the definitions in PyTorch's documentation of each class, and the papers that it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainer.config.schedule_parts import schedules_within
from utils.config.ranges import Range
from utils.config.sections import Section
from utils.errors import Problem

_FRACTION, _NOT_NEGATIVE, _POSITIVE, _COUNT = (
    Range(low=0, high=1),
    Range(low=0),
    Range(low=0, low_open=True),
    Range(low=1),
)

OPTIMIZER_RANGES: Mapping[str, Range] = {
    "momentum": _FRACTION,  # share of the last update that is kept (SGD, RMSprop)
    "dampening": _FRACTION,  # share of the gradient that is left out (SGD)
    "alpha": _FRACTION,  # of a running mean (RMSprop); power by which the rate falls (ASGD: Polyak and Juditsky, 1992)
    "lambd": _NOT_NEGATIVE,  # decay of the rate (ASGD)
    "t0": _NOT_NEGATIVE,  # update at which averaging begins (ASGD)
    "step_sizes": _POSITIVE,  # least and greatest update (Rprop)
}
SCHEDULE_RANGES: Mapping[str, Range] = {
    **dict.fromkeys(("T_0", "T_max", "step_size", "step_size_up", "step_size_down"), _COUNT),
    **dict.fromkeys(("total_iters", "total_steps", "epochs", "steps_per_epoch"), _COUNT),
    **dict.fromkeys(("milestones", "patience", "cooldown"), _NOT_NEGATIVE),  # epochs or steps
    **dict.fromkeys(("eta_min", "min_lr", "base_lr", "max_lr"), _NOT_NEGATIVE),  # rates
    **dict.fromkeys(("base_momentum", "max_momentum", "factor"), _FRACTION),
    **dict.fromkeys(("gamma", "power", "threshold", "eps"), _NOT_NEGATIVE),
    **dict.fromkeys(("div_factor", "final_div_factor"), _POSITIVE),  # the rate is divided by them (OneCycleLR)
}


def meaningless_numbers_of_optimizer(section: Section) -> list[Problem]:
    """The optimiser's arguments that lie outside their ranges."""
    return list(_outside(section, "optimizer", OPTIMIZER_RANGES))


def meaningless_numbers_of_schedules(section: Section) -> list[Problem]:
    """The arguments of a schedule, and of those within it, that lie outside their ranges."""
    within = schedules_within(section)
    return [problem for path, part in within for problem in _outside(part, path, SCHEDULE_RANGES)]


def _outside(section: Section, path: str, ranges: Mapping[str, Range]) -> Iterator[Problem]:
    for name, allowed in ranges.items():
        given = section.args.get(name)
        values: list[Any] = given if isinstance(given, list) else [given]
        for value in values:
            if isinstance(value, int | float) and not isinstance(value, bool) and not allowed.admits(value):
                kind = "an integer" if allowed is _COUNT else "a number"
                yield Problem(f"{path}.args.{name}", f"expected {kind}, {allowed}; got {value}")
                break
