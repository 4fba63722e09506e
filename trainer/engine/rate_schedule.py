"""The learning rate of a run: a schedule, what it counts, and where it stands.

The training loop knows this object only. With the unit "epoch" a schedule moves on after each epoch; with "step" its
position is the step's place in the run, so that it is at its end when the run is, and a step that was skipped (a loss
that is no finite number, fp16's overflow) counts like any other. A step is one update, of however many micro-batches.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from base import Monitor, RunState, Step
from trainer.config.components import LR_SCHEDULER
from utils.config.sections import Section, build
from utils.errors import ConfigError, Problem

StepUnit = Literal["epoch", "step"]

_BY_STEP = ("OneCycleLR", "CyclicLR")
"""Schedules whose papers (Smith & Topin 2018; Smith 2017) change the rate in each step."""

logger = logging.getLogger(__name__)


class RateSchedule:
    """A schedule of the learning rate, and of the momentum where it cycles that, too.

    Args:
        schedule: of `optimizer`, at its beginning.
        optimizer: whose rate it sets.
        unit: what the schedule counts.
        steps_per_epoch: updates of the weights.
    """

    def __init__(self, schedule: LRScheduler, optimizer: Optimizer, *, unit: StepUnit, steps_per_epoch: int) -> None:
        self.schedule = schedule
        self.optimizer = optimizer
        self.unit = unit
        self.steps_per_epoch = steps_per_epoch

    @property
    def rate(self) -> float:
        """The learning rate: of the update under way, or between two of them of the last one."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def position(self) -> int:
        """The epoch or the step whose rate it is, counted from 0."""
        return self.schedule.last_epoch

    def before_step(self, step: Step) -> None:
        """Set the rate of a step; it stays that until the next one, for the log and for a checkpoint."""
        if self.unit == "step":
            self._go_to((step.epoch - 1) * self.steps_per_epoch + step.index)

    def after_epoch(self, monitored: float | None) -> None:
        """Move on to the next epoch.

        Args:
            monitored: the monitored quantity, which ReduceLROnPlateau follows.
        """
        if isinstance(self.schedule, ReduceLROnPlateau):
            if monitored is not None:
                self.schedule.step(monitored)
        elif self.unit == "epoch":
            self.schedule.step()

    def go_through(self, state: RunState, monitor: Monitor) -> None:
        """Go from the beginning to where a run stands, as if the run had always had this schedule.

        Raises:
            ValueError: the schedule ends before.
        """
        recorded = {int(line["epoch"]): line.get(monitor.name) for line in state.history}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of schedules that are at their end
            for epoch in range(1, state.epoch + 1):
                self.after_epoch(recorded.get(epoch))
            if self.unit == "step":
                self._go_to(state.epoch * self.steps_per_epoch + state.step - 1)

    def state_dict(self) -> dict[str, Any]:
        """The schedule's own; the rates and momenta themselves are in the optimiser's."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where `state_dict` was called."""
        self.schedule.load_state_dict(dict(state))  # some of torch's take entries out

    def _go_to(self, position: int) -> None:
        while self.position < position:
            self.schedule.step()


def build_rate_schedule(section: Section, optimizer: Optimizer, *, epochs: int, steps_per_epoch: int) -> RateSchedule:
    """The schedule that a section names, for a run of so many epochs.

    Raises:
        ConfigError: the schedule can't be built, or ends before the run does.
    """
    unit = step_unit(section)
    if section.type in _BY_STEP:
        text = "%s moves on after each %s (lr_scheduler.step_unit), and sets the rate: optimizer.args.lr has no effect."
        logger.info(text, section.type, unit)
    units = epochs * (steps_per_epoch if unit == "step" else 1)
    full = with_length(section, epochs, units // epochs)
    try:
        schedule = build(full, LR_SCHEDULER, context={"optimizer": optimizer}, path="lr_scheduler")
        require_length(schedule, units, unit)
    except (ValueError, ZeroDivisionError) as error:
        message = str(error) if isinstance(error, ValueError) else f"{section.type} can't be of {units} {unit}s"
        raise ConfigError([section.origins.tell(Problem("lr_scheduler", message))]) from None
    # else torch takes a step that is left out, or was another process's, for a wrong order, and warns
    vars(optimizer)["_opt_called"] = True
    return RateSchedule(schedule, optimizer, unit=unit, steps_per_epoch=steps_per_epoch)


def step_unit(section: Section) -> StepUnit:
    """What the schedule of a section counts."""
    return section.extras["step_unit"] or ("step" if section.type in _BY_STEP else "epoch")


def with_length(section: Section, epochs: int, units_per_epoch: int) -> Section:
    """The section of a OneCycleLR that is as long as the run, unless it says how long it is; any other as it is."""
    if section.type != "OneCycleLR" or section.args.get("total_steps") is not None:
        return section
    given = {name: value for name, value in section.args.items() if value is not None}
    return section.with_args(**{"epochs": epochs, "steps_per_epoch": units_per_epoch, **given})


def require_length(schedule: LRScheduler, units: int, unit: StepUnit) -> None:
    """Refuse a schedule that has no rates for the end of a run.

    Raises:
        ValueError: OneCycleLR ends before so many epochs or steps.
    """
    if isinstance(schedule, OneCycleLR) and schedule.total_steps < units:
        told = f"OneCycleLR ends after {schedule.total_steps} {unit}s, and the run has {units}"
        other = ', or set step_unit to "epoch"' if unit == "step" else ""
        raise ValueError(f"{told}; leave total_steps out{other}")
