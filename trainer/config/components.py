"""What each section of the configuration may name, and what the program supplies to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from utils.config.components import Component, component_of, fields_of
from utils.config.sections import Section

TRAINING_CONTEXT = frozenset(
    {
        *("cls_num_list", "class_counts", "training_prior", "num_classes", "num_experts", "taus"),
        *("epochs", "steps_per_epoch", "seed", "balanced_sampling", "distributed"),
        *("network", "criterion", "mixing", "metrics", "log_expert_losses", "give_expert_logits"),
        *("optimizer", "precision"),
    }
)
"""Constructor arguments of losses, methods and update rules that the program supplies, each under one name for all."""


@dataclass(frozen=True)
class LossExtras:
    """Further keys of the section `loss`.

    Args:
        tau_min: least τ where `tau_list` is "limits" or "uniform".
        tau_max: greatest τ, the same.
        return_expert_losses: record each expert's loss.
    """

    tau_min: float | None = None
    tau_max: float | None = None
    return_expert_losses: bool = False


@dataclass(frozen=True)
class ScheduleExtras:
    """Further keys of the section `lr_scheduler`.

    Args:
        step_unit: what the schedule counts, "epoch" or "step" (an update of the weights); null: OneCycleLR and CyclicLR
            count steps, all others epochs.
    """

    step_unit: Literal["epoch", "step"] | None = None


# modules by their names: they may themselves name these components, methods that wrap a method say
ARCH = Component(("model.model",))
DATA_LOADER = Component(("data_loader.data_loaders",), injected=frozenset({"seed"}))
OPTIMIZER = Component(("torch.optim",), base="torch.optim.Optimizer", injected=frozenset({"params"}))
LR_SCHEDULER = Component(
    ("torch.optim.lr_scheduler", "trainer.engine.schedules"),  # of the same name it is ours
    base="torch.optim.lr_scheduler.LRScheduler",
    injected=frozenset({"optimizer"}),
    extras=ScheduleExtras,
)
SCHEDULE_PART = replace(LR_SCHEDULER, extras=None)
"""A schedule within a schedule: it counts what the whole counts."""
LOSS = Component(("model.losses",), base="model.losses.base.ExpertLoss", injected=TRAINING_CONTEXT, extras=LossExtras)
METHOD = Component(
    ("trainer.methods",), base="trainer.methods.base.Method", injected=TRAINING_CONTEXT, default="Supervised"
)
UPDATE_RULE = Component(
    ("trainer.engine.update_rules",),
    base="trainer.engine.update_rules.base.UpdateRule",
    injected=TRAINING_CONTEXT,
    default="Descent",
)


def method_classes(section: Section) -> list[type[Any]]:
    """The classes of a method and of those that it wraps, the innermost last."""
    kind = METHOD.choices()[section.type]
    for name, argument in fields_of(kind).items():
        component = component_of(argument.annotation)
        if component is not None:
            inner = section.args.get(name, {"type": component.default})
            return [kind, *method_classes(Section(inner["type"], inner.get("args", {})))]
    return [kind]
