"""The keys of a configuration as the documentation and the schema give them, with values that fit and that don't."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Doc = dict[str, Any]


class Raw(str):
    """JSON text that stands in a file as it is."""


@dataclass(frozen=True)
class Key:
    """One key: what kind of value it takes.

    Args:
        kind: "int", "number", "bool", "choice", "text".
        low: least value.
        high: largest value.
        low_open: the least itself is not allowed.
        choices: the words (or numbers) of a choice, or further words of another kind.
        nullable: null is allowed.
        alone: its legal values go with whatever the other keys are.
        slow: large legal values take long to train.
    """

    kind: str
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    choices: tuple[Any, ...] = ()
    nullable: bool = False
    alone: bool = True
    slow: bool = False


_WHOLE = Key("int", 1)
_FROM_ZERO = Key("int", 0)
_SWITCH = Key("bool")
_POSITIVE = Key("number", 0, low_open=True)
_DIMENSION = Key("int", 1, nullable=True, alone=False)

KEYS: dict[str, Key] = {
    "n_gpu": Key("int", 0, 1024),
    "seed": Key("int", 0, 2**63 - 1),
    "add_extra_info": Key("bool", alone=False),
    "resume_state_dict_only": _SWITCH,
    "arch.args.num_classes": Key("int", 1, alone=False),
    "arch.args.num_experts": Key("int", 1, 100, alone=False),
    "arch.args.use_norm": _SWITCH,
    "arch.args.reduce_dimension": _SWITCH,
    "arch.args.share_layer2": _SWITCH,
    "arch.args.share_layer3": Key("bool", alone=False),
    "arch.args.layer2_output_dim": _DIMENSION,
    "arch.args.layer3_output_dim": _DIMENSION,
    "arch.args.layer4_output_dim": _DIMENSION,
    "arch.args.returns_feat": Key("bool", alone=False),
    "arch.args.s": _POSITIVE,
    "arch.args.dropout": Key("number", 0, 1, nullable=True),
    "data_loader.args.batch_size": Key("int", 1, alone=False),
    "data_loader.args.shuffle": _SWITCH,
    "data_loader.args.num_workers": Key("int", 0, alone=False),
    "data_loader.args.balanced": _SWITCH,
    "data_loader.args.retain_epoch_size": _SWITCH,
    "data_loader.args.validation_split": Key("number", 0, 0.9, alone=False),
    "data_loader.args.worker_timeout": Key("number", 0),
    "optimizer.args.lr": Key("number", 0),
    "optimizer.args.momentum": Key("number", 0, 1, alone=False),
    "optimizer.args.weight_decay": Key("number", 0),
    "optimizer.args.nesterov": _SWITCH,
    "loss.args.eps": _POSITIVE,
    "loss.return_expert_losses": _SWITCH,
    "trainer.epochs": Key("int", 1, slow=True),
    "trainer.save_period": _WHOLE,
    "trainer.checkpoint_minutes": Key("number", 0),
    "trainer.keep_last": _FROM_ZERO,
    "trainer.verbosity": Key("choice", choices=(0, 1, 2)),
    "trainer.early_stop": _FROM_ZERO,
    "trainer.validate": _SWITCH,
    "trainer.wandb": Key("bool", alone=False),
    "trainer.report": _SWITCH,
    "trainer.parallel": Key("choice", choices=("ddp", "dp", "none")),
    "trainer.sync_batchnorm": _SWITCH,
    "trainer.precision": Key("choice", choices=("fp32", "tf32", "bf16", "fp16", "auto")),
    "trainer.accumulate_steps": Key("int", 1, 100_000, choices=("auto",), nullable=True, alone=False),
    "trainer.activation_checkpointing": _SWITCH,
    "trainer.compile": Key("bool", slow=True),
    "trainer.channels_last": _SWITCH,
    "trainer.on_nonfinite": Key("choice", choices=("stop", "skip")),
    "trainer.max_skipped_steps": _WHOLE,
    "combiner.mode": Key("choice", choices=("default", "mixup", "cutmix", "mixup_cutmix")),
    "combiner.type": Key("choice", choices=("Combiner",)),
    "combiner.mixup.alpha": _POSITIVE,
    "combiner.mixup.cutmix_alpha": _POSITIVE,
    "combiner.mixup.target_mix_strategy": Key("choice", choices=("mix_input", "mix_logits"), alone=False),
}
"""Keys of every recipe."""

IN_MEMORY: dict[str, Key] = {
    "data_loader.args.randaugm": Key("bool", choices=("published",)),
    "data_loader.args.trivialaugm": _SWITCH,
    "data_loader.args.cutout": _SWITCH,
    "data_loader.args.verify": _SWITCH,
    "data_loader.args.imb_type": Key("choice", choices=("exp", "step")),
    "data_loader.args.imb_factor": Key("number", 0, 1, low_open=True),
    "data_loader.args.max_per_class": Key("int", 1, nullable=True, alone=False),
    "data_loader.args.data_dir": Key("text"),
}
FILES: dict[str, Key] = {
    "data_loader.args.randaugm": _SWITCH,
    "data_loader.args.color_jitter": _SWITCH,
    "data_loader.args.image_size": Key("int", 8, alone=False),
    "data_loader.args.on_bad_image": Key("choice", choices=("error", "skip")),
    "data_loader.args.max_per_class": Key("int", 1, nullable=True),
    "data_loader.args.data_dir": Key("text"),
}
SCHEDULES: dict[str, dict[str, Key]] = {
    "CustomLR": {
        "lr_scheduler.args.step1": _FROM_ZERO,
        "lr_scheduler.args.step2": _FROM_ZERO,
        "lr_scheduler.args.warmup_epoch": _FROM_ZERO,
        "lr_scheduler.args.gamma": _POSITIVE,
    },
    "CosineAnnealingLR": {"lr_scheduler.args.T_max": _WHOLE, "lr_scheduler.args.eta_min": Key("number", alone=False)},
}
REQUIRED = (
    *("name", "arch", "data_loader", "optimizer", "lr_scheduler", "loss", "trainer"),
    *("arch.type", "data_loader.type", "optimizer.type", "lr_scheduler.type", "loss.type", "arch.args.num_classes"),
    *("data_loader.args.batch_size", "trainer.epochs", "trainer.save_dir", "loss.args.tau_list"),
)
"""Keys without which no recipe here is complete."""


def keys_of(doc: Doc) -> dict[str, Key]:
    """The keys that a recipe may have."""
    in_memory = "imb_factor" in doc["data_loader"].get("args", {})
    return {**KEYS, **(IN_MEMORY if in_memory else FILES), **SCHEDULES.get(doc["lr_scheduler"]["type"], {})}


def legal_value(key: Key, random_: random.Random) -> Any:
    """A value that the key takes: an end of its range, or an unusual one within."""
    if key.nullable and random_.random() < 0.2:
        return None
    if key.choices and (key.kind == "choice" or random_.random() < 0.3):
        return random_.choice(key.choices)
    if key.kind == "bool":
        return random_.random() < 0.5
    if key.kind == "text":
        return random_.choice(["dätä", "./a/../b", "with space", "数据", "~", "-", "a" * 200, "http://x//y"])
    if key.kind == "int":
        low, high = int(key.low or 0), int(min(key.high or 5000, 5000))
        return random_.choice([low, low + 1, random_.randint(low, high), random_.randint(low, min(high, low + 20))])
    return _legal_number(key, random_)


def _legal_number(key: Key, random_: random.Random) -> float:
    low, high = key.low or 0.0, 2.0 if key.high is None else key.high
    inside = [low + (high - low) * part for part in (1e-6, 0.25, 0.5, 0.999)]
    exact = [high, int(high)] if high == int(high) and high > 0 else [high]
    return random_.choice([*inside, *exact, Raw(f"{low + 0.5 * (high - low):.3e}"), *([] if key.low_open else [low])])


def illegal_value(key: Key, random_: random.Random) -> Any:
    """A value of another type or out of range."""
    wrong: list[Any] = [[], {}, [1], {"value": 1}, "", "nan", "null", Raw("NaN"), Raw("-Infinity"), Raw("1e999")]
    if not key.nullable:
        wrong += [None, None]
    if key.kind in ("int", "number"):
        wrong += [True, False, "1", "0.1", "1e-3", Raw("9" * 5000), "one", "1", "²"]
        wrong += [] if key.low is None else [key.low - 1, -(2**70), Raw("-1e300"), math.nextafter(key.low, -math.inf)]
        wrong += [] if key.high is None else [key.high * 2 + 1, 10**30]
        wrong += [int(key.low or 0)] if key.low_open else []
    if key.kind == "int":
        wrong += [1.5, 0.1, Raw("1e-1"), 2**63, 2**64, -1.5]
    if key.kind == "bool":
        wrong += [0, 1, "true", "false", "True", "yes", 1.0, "on"]
    if key.kind == "choice":
        wrong += [99, -1, 1.5, "None", "x", *(str(word).upper() for word in key.choices if isinstance(word, str))]
        wrong += [f"{word} " for word in key.choices] + [True]
    if key.kind == "text":
        wrong = [None, 5, True, [], {}, ["a"], "a\0b", Raw('"\\ud800"'), 1.5]
    return random_.choice([value for value in wrong if not (isinstance(value, str) and value in key.choices)])


def get(doc: Doc, path: str) -> Any:
    """The value at a path, None where there is none."""
    for name in path.split("."):
        doc = doc.get(name) if isinstance(doc, Mapping) else None  # type: ignore[assignment]
    return doc


def put(doc: Doc, path: str, value: Any) -> None:
    """Set the value at a path; sections on the way are made."""
    *parents, last = path.split(".")
    for name in parents:
        doc = doc.setdefault(name, {})
    doc[last] = value


def drop(doc: Doc, path: str) -> None:
    """Remove what is at a path."""
    *parents, last = path.split(".")
    for name in parents:
        doc = doc[name]
    doc.pop(last, None)


def sections_of(doc: Doc, path: str = "") -> list[str]:
    """The paths of all objects in a recipe, the whole of it (the empty path) first."""
    inner = [(f"{path}.{name}" if path else name, value) for name, value in doc.items() if isinstance(value, dict)]
    return [path, *(found for name, value in inner for found in sections_of(value, name))]
