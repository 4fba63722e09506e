"""A schedule's section and those within it: whether they fit the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any

from trainer.config.components import SCHEDULE_PART
from trainer.engine.rate_schedule import StepUnit, step_unit, with_length
from utils.config.sections import Section, argument_of
from utils.errors import Problem


@dataclass(frozen=True)
class Span:
    """What a schedule has to fit: so many epochs or steps.

    Attributes:
        units: how many.
        unit: which.
        text: both, in words.
    """

    units: int
    unit: StepUnit
    text: str


@dataclass(frozen=True)
class SchedulePart:
    """A schedule, or one within another.

    Attributes:
        path: its section's.
        section: `type` and `args`.
        span: what it has to fit.
    """

    path: str
    section: Section
    span: Span

    def argument(self, name: str) -> Any:
        """As the section has it, else the constructor's default."""
        return argument_of(self.section, SCHEDULE_PART, name)

    def problem(self, name: str, message: str) -> Problem:
        """About one of its arguments."""
        return Problem(f"{self.path}.args.{name}", message)


def schedules_within(section: Section, path: str = "lr_scheduler") -> Iterator[tuple[str, Section]]:
    """A schedule's section and those of its parts, each with its path."""
    yield path, section
    for number, part in enumerate(_parts(section)):
        yield from schedules_within(part, f"{path}.args.schedulers[{number}]")


def length_warnings(section: Section, epochs: int, steps_per_epoch: int | None) -> Iterator[Problem]:
    """Which lengths of a schedule don't fit the run.

    Args:
        section: `lr_scheduler`.
        epochs: of the run.
        steps_per_epoch: updates of the weights; None: not known.
    """
    span = Span(epochs, "epoch", f"{epochs} epochs")
    if step_unit(section) == "step":
        if steps_per_epoch is None:
            return
        steps = epochs * steps_per_epoch
        span = Span(steps, "step", f"{steps} steps ({epochs} epochs of {steps_per_epoch})")
    full = with_length(section, epochs, span.units // epochs)
    yield from _warnings(SchedulePart("lr_scheduler", full, span))


def _parts(section: Section) -> list[Section]:
    return [Section(part["type"], part.get("args", {})) for part in section.args.get("schedulers", [])]


def _warnings(part: SchedulePart) -> Iterator[Problem]:
    if rule := _RULES.get(part.section.type):
        yield from rule(part)


def _custom(part: SchedulePart) -> Iterator[Problem]:
    step1, step2, warmup = (part.argument(name) for name in ("step1", "step2", "warmup_epoch"))
    if step2 < step1:
        yield part.problem("step2", f"{step2} comes before step1 = {step1}")
    for name, step in (("step1", step1), ("step2", step2)):
        if step >= part.span.units:
            yield part.problem(name, f"{step} is never reached in {part.span.text}")
    if warmup >= part.span.units:
        yield part.problem("warmup_epoch", f"{warmup} {part.span.unit}s of warm-up in {part.span.text} of training")


def _cosine(part: SchedulePart) -> Iterator[Problem]:
    half, units = part.argument("T_max"), part.span.units
    if half not in (units - 1, units):
        what = "rises again" if half < units else "never reaches its end"
        yield part.problem("T_max", f"{half} against {part.span.text}: the learning rate {what}")


def _one_cycle(part: SchedulePart) -> Iterator[Problem]:
    total = part.argument("total_steps")
    name = "epochs" if total is None else "total_steps"
    total = total or part.argument("epochs") * part.argument("steps_per_epoch")
    if total > part.span.units:
        yield part.problem(name, f"{total} against {part.span.text}: the learning rate never reaches its end")


def _steps(part: SchedulePart) -> Iterator[Problem]:
    if (step := part.argument("step_size")) >= part.span.units:
        yield part.problem("step_size", f"{step} is never reached in {part.span.text}")


def _milestones(part: SchedulePart) -> Iterator[Problem]:
    for milestone in part.argument("milestones"):
        if milestone >= part.span.units:
            yield part.problem("milestones", f"{milestone} is never reached in {part.span.text}")


def _ramp(part: SchedulePart) -> Iterator[Problem]:
    if (length := part.argument("total_iters")) > part.span.units:
        message = f"{length} against {part.span.text}: the learning rate never reaches its end"
        yield part.problem("total_iters", message)


def _restarts(part: SchedulePart) -> Iterator[Problem]:
    yield from _ends_with_a_cycle(part, "T_0", part.argument("T_0"), part.argument("T_mult"))


def _cycles(part: SchedulePart) -> Iterator[Problem]:
    up = part.argument("step_size_up")
    yield from _ends_with_a_cycle(part, "step_size_up", up + (part.argument("step_size_down") or up))


def _ends_with_a_cycle(part: SchedulePart, name: str, length: int, factor: int = 1) -> Iterator[Problem]:
    """Whether the run ends when a cycle does: the first is of `length`, each further one `factor` times as long."""
    units = part.span.units
    begin = (units - 1) // length * length if factor == 1 else 0
    while begin + length < units:
        begin, length = begin + length, length * factor
    if begin + length > units:
        yield part.problem(name, f"the cycle from {begin} to {begin + length} is not over after {part.span.text}")


def _sequence(part: SchedulePart) -> Iterator[Problem]:
    yield from _milestones(part)
    begins = takewhile(lambda begin: begin < part.span.units, [0, *part.argument("milestones")])
    places = [*begins, part.span.units]
    for number, (inner, (begin, end)) in enumerate(zip(_parts(part.section), pairwise(places), strict=False)):
        text = f"{end - begin} {part.span.unit}s (from {begin} to {end})"
        span = Span(end - begin, part.span.unit, text)
        yield from _warnings(SchedulePart(f"{part.path}.args.schedulers[{number}]", inner, span))


def _chain(part: SchedulePart) -> Iterator[Problem]:
    for number, inner in enumerate(_parts(part.section)):
        yield from _warnings(SchedulePart(f"{part.path}.args.schedulers[{number}]", inner, part.span))


_RULES: dict[str, Callable[[SchedulePart], Iterator[Problem]]] = {
    "CustomLR": _custom,
    "CosineAnnealingLR": _cosine,
    "CosineAnnealingWarmRestarts": _restarts,
    "OneCycleLR": _one_cycle,
    "CyclicLR": _cycles,
    "StepLR": _steps,
    "MultiStepLR": _milestones,
    **dict.fromkeys(("ConstantLR", "LinearLR", "PolynomialLR"), _ramp),
    "SequentialLR": _sequence,
    "ChainedScheduler": _chain,
}
