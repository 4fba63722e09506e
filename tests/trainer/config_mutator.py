"""Configurations made wrong at random: each is either refused in lines that begin with a JSON path, or can be built.

python -m tests.trainer.config_mutator --count 2000
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import string
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import lr_scheduler

from base import BatchShard, Step, TrainerOptions
from data_loader.loader import ImageDataLoader
from trainer.build import build_model
from trainer.config.components import ARCH, DATA_LOADER, LOSS, LR_SCHEDULER, METHOD, OPTIMIZER, UPDATE_RULE
from trainer.config.config_warnings import find_config_warnings
from trainer.config.run_config import find_problems, run_config
from trainer.methods.mixing import Combiner
from utils.config.components import fields_of
from utils.config.json_files import read_json
from utils.config.parser import ConfigParser
from utils.config.sections import build
from utils.errors import ConfigError, UserError

CONFIGS = Path(__file__).parents[2] / "configs"


def recipe(path: Path) -> dict[str, Any]:
    """A configuration of the repository; a second stage is told what to start from, as a flag would tell it."""
    config = read_json(path)
    second_stage = any(problem.path == "initialise" for problem in find_problems(config))
    return {**config, "initialise": {"checkpoint": "first.pth"}} if second_stage else config


RECIPES = {str(path.relative_to(CONFIGS)): recipe(path) for path in sorted(CONFIGS.rglob("*.json"))}

COMPONENTS = {
    **{"arch": ARCH, "data_loader": DATA_LOADER, "optimizer": OPTIMIZER, "lr_scheduler": LR_SCHEDULER, "loss": LOSS},
    **{"method": METHOD, "update_rule": UPDATE_RULE},
}
NUMBERS = (
    *(0, 1, 2, 3, -1, 7, 0.5, -0.5, 1.5, -0.0, 1e-320, 1e-9, 1e9, 1e38, 1e308, -1e308),
    *(2**31, 2**63 - 1, 2**63, -(2**63), 10**30, 10**400, float("nan"), float("inf"), float("-inf")),
)
WORDS = (
    *("", " ", "0", "1e3", "nan", "None", "true", "auto", "off", "max", "min", "max val_accuracy", "min val_loss"),
    *("limits", "uniform", "0;1;2", "1;x", "mixup", "cutmix", "mixup_cutmix", "mix_logits", "..", "/", "a/b", "a: b"),
    *("a\nb", "a\0b", "\ud800", "é", "x" * 5000, "SGD", "AdamW", "CustomLR", "StepLR", "step", "exp"),
)
OTHERS = (
    None,
    True,
    False,
    [],
    {},
    [0],
    [0.9, 0.999],
    [1, 2, 3],
    [None],
    [[1]],
    ["a"],
    {"type": "SGD"},
    {"a": {"b": 1}},
)
DIGITS = DATA_LOADER.choices()["ImbalanceDigitsDataLoader"]
EPOCHS_TRIED = 5
KEY = r'(?:[\w$-]+|"(?:[^"\\]|\\.)*(?:"|\.\.\.))'

Place = tuple[Any, Any]
"""A container and a key or index in it."""


def places(value: Any) -> Iterator[Place]:
    """Every value inside a configuration, by where it stands."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def junk(random: Random) -> Any:
    """Any JSON value, small or extreme."""
    return copy.deepcopy(random.choice(random.choice((NUMBERS, WORDS, OTHERS))))


def drop(config: Any, random: Random) -> None:
    container, key = random.choice(list(places(config)))
    del container[key]


def misspell(config: Any, random: Random) -> None:
    """Another letter in a key's name, or a key with something strange in it."""
    container, key = random.choice([place for place in places(config) if isinstance(place[0], dict)])
    at = random.randrange(len(key) + 1)
    letter = random.choice((*string.ascii_lowercase, "_", ".", "\n", ": ", "\ud800"))
    container[key[:at] + letter + key[at + random.randrange(2) :]] = container.pop(key)


def add(config: Any, random: Random) -> None:
    """A key more: another's name, or another's value."""
    container, key = random.choice([place for place in places(config) if isinstance(place[0], dict)])
    names = [other for _, other in places(config) if isinstance(other, str)]
    container[random.choice([*names, f"{key}s", "", "type", "args"])] = copy.deepcopy(
        random.choice([container[key], junk(random)])
    )


def replace(config: Any, random: Random) -> None:
    container, key = random.choice(list(places(config)))
    container[key] = junk(random)


def renumber(config: Any, random: Random) -> None:
    """An extreme number in a number's place."""
    numbers = [place for place in places(config) if type(place[0][place[1]]) in (int, float)]
    if numbers:
        container, key = random.choice(numbers)
        container[key] = random.choice(NUMBERS)


def reword(config: Any, random: Random) -> None:
    """A wrong word in a word's place."""
    container, key = random.choice([place for place in places(config) if isinstance(place[0][place[1]], str)])
    container[key] = random.choice(WORDS)


def bury(config: Any, random: Random) -> None:
    """A value inside lists and objects."""
    container, key = random.choice(list(places(config)))
    for _ in range(random.choice((1, 2, 50))):
        container[key] = [container[key]] if random.random() < 0.5 else {"x": container[key]}


def swap(config: Any, random: Random) -> None:
    """Two values, sections among them, change places."""
    found = list(places(config))
    (one, i), (other, j) = random.choice(found), random.choice(found)
    one[i], other[j] = copy.deepcopy(other[j]), copy.deepcopy(one[i])


def retype(config: Any, random: Random) -> None:
    """Another type that exists; its arguments stay those of the old one."""
    name = random.choice(list(COMPONENTS))
    if isinstance(config.get(name, {}), dict):
        config.setdefault(name, {})["type"] = random.choice(list(COMPONENTS[name].choices()))


def refit(config: Any, random: Random) -> None:
    """Another type with none of the old arguments, but perhaps some of its own."""
    name = random.choice(list(COMPONENTS))
    if isinstance(config.get(name), dict):
        retype(config, random)
        config[name]["args"] = {}
        for _ in range(random.randrange(3)):
            argue(config, random)


def argue(config: Any, random: Random) -> None:
    """An argument that the type really has, with any value, so that more gets past the schema."""
    name = random.choice(list(COMPONENTS))
    section, kinds = config.get(name), COMPONENTS[name].choices()
    if not isinstance(section, dict) or not isinstance(section.get("type"), str) or section["type"] not in kinds:
        return
    if isinstance(section.setdefault("args", {}), dict):
        argument = random.choice(list(fields_of(kinds[section["type"]])) or ["x"])
        inner = {"type": random.choice(list(METHOD.choices()))}
        small = (None, True, 1, 0.1, 3, 20, inner)
        section["args"][argument] = random.choice((junk(random), random.choice(NUMBERS), *small))


def option(config: Any, random: Random) -> None:
    """The same in the section `trainer`."""
    if isinstance(config.get("trainer"), dict):
        argument = random.choice(list(fields_of(TrainerOptions)))
        config["trainer"][argument] = random.choice((junk(random), random.choice(NUMBERS), True, 1, 0.1, 3))


MUTATIONS: tuple[Callable[[Any, Random], None], ...] = (
    *(drop, misspell, add, replace, renumber, reword, bury, swap),
    *(retype, refit, refit, argue, argue, argue, argue, option, option),
)


def mutant(seed: int) -> tuple[str, dict[str, Any]]:
    """A published configuration with one to three mutations, and a word on what they are."""
    random = Random(seed)
    recipe = random.choice(list(RECIPES))
    config = copy.deepcopy(RECIPES[recipe])
    chosen = random.choices(MUTATIONS, k=random.choice((1, 1, 2, 3)))
    for mutate in chosen:
        mutate(config, random)
    return f"{seed}: {recipe}: {', '.join(mutate.__name__ for mutate in chosen)}", config


def judge(config: dict[str, Any]) -> str:
    """What becomes of a configuration: "refused" or "built"; anything else raises.

    Raises:
        AssertionError: it is refused in lines that do not begin with a path.
        Exception: the check crashed, or the check passed and building failed.
    """
    before = repr(config)
    found = find_problems(config)
    assert repr(config) == before, "the check changed the configuration"
    parser = ConfigParser(config, source="a mutant")
    if not found:
        build_all(parser)
        return "built"
    try:
        parser.validate(lambda _: found)
    except ConfigError as error:
        assert error.problems and len(error.problems) == len(found)
        for line in map(str, error.problems):
            assert begins_with_a_path(line, config), line
            assert line.endswith("(in a mutant)")
            line.encode()
        assert len(str(error).splitlines()) == len(found)
        return "refused"
    raise AssertionError("problems were found and not raised")


def begins_with_a_path(line: str, config: dict[str, Any]) -> bool:
    """Whether the keys before the colon lead into the configuration, all but the last (which may be missing)."""
    path = re.match(rf"{KEY}(\.{KEY}|\[\d+\])*(?=: \S)", line)
    if path is None:
        return False
    *parents, last = re.findall(rf"{KEY}|\[\d+\]", path[0])
    value: Any = config
    for name in parents:
        key = int(name[1:-1]) if name.startswith("[") else name
        if name == "args" and key not in value and last in line:
            return True  # the whole section is missing, and with it what it must hold
        if not ((isinstance(value, dict) and key in value) or (isinstance(value, list) and isinstance(key, int))):
            return False
        value = value[key]
    return True


def build_all(parser: ConfigParser) -> None:
    """Build what the configuration describes, as far as it can be without data and without memory for the network."""
    config = run_config(parser)
    with torch.device("meta"):
        network = build_model(config, torch.device("meta"))
    classes = min(network.num_classes, 1000)
    context = {
        "cls_num_list": [5] * classes,
        "class_counts": [5] * classes,
        "training_prior": np.ones(classes) / classes,
    }
    context |= {"num_classes": classes, "num_experts": config.num_experts, "taus": config.taus, "seed": config.seed}
    criterion = build(config.loss, LOSS, context=context, path="loss")
    logits = torch.zeros(network.num_experts, 4, classes)
    assert criterion(logits.mean(0), torch.zeros(4, dtype=torch.int64), {"logits": logits}).isfinite()

    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = build(config.optimizer, OPTIMIZER, [weight], context={}, path="optimizer")
    schedule = build(config.lr_scheduler, LR_SCHEDULER, context={"optimizer": optimizer}, path="lr_scheduler")
    for _ in range(EPOCHS_TRIED):
        weight.grad = torch.full_like(weight, 1e-3)
        optimizer.step()
        schedule.step(*([0.5] if isinstance(schedule, lr_scheduler.ReduceLROnPlateau) else []))

    combiner, images = Combiner(config.combiner, config.seed, config.finetuning_combiner), torch.zeros(8, 3, 4, 4)
    for epoch in (1, 10**6):
        mixed = combiner(images, torch.arange(8), Step(epoch, 0), BatchShard(0, 8, 8))
        assert 0 <= mixed.targets.mix_lambda <= 1
    for section in (config.data_loader, *config.loaders.values()):
        read(build(section, DATA_LOADER, context={"seed": config.seed}, path="data_loader"))
    assert config.monitor.mode in ("min", "max", "off")
    for warning in find_config_warnings(config):
        assert begins_with_a_path(str(warning), parser.config) and "\n" not in str(warning)
    json.dumps(parser.config, ensure_ascii=False, allow_nan=False).encode()
    assert b"\0" not in os.fsencode(parser.runs_folder())


def read(loader: ImageDataLoader) -> None:
    """A first batch of each split, where the data are at hand: a mistake that the data reveal is one line, too."""
    if not isinstance(loader, DIGITS):
        return
    loader.num_workers = 0
    try:
        for split in (loader, loader.of_split("validation"), loader.of_split("test")):
            assert next(iter(split.epoch(1))).view().isfinite().all()
    except UserError as error:
        assert len(str(error).splitlines()) == 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    outcomes: Counter[str] = Counter()
    slowest, begin = (0.0, ""), time.monotonic()
    for seed in range(options.first, options.first + options.count):
        description, config = mutant(seed)
        started = time.monotonic()
        try:
            outcomes[judge(config)] += 1
        except Exception as error:  # whatever it is, it is what this looks for
            outcomes["failed"] += 1
            print(f"{description}: {type(error).__name__}: {str(error)[:300]}", flush=True)
        slowest = max(slowest, (time.monotonic() - started, description))
    print(f"{options.count} mutants of {len(RECIPES)} recipes in {time.monotonic() - begin:.0f} s: {dict(outcomes)}")
    print(f"slowest: {slowest[0]:.1f} s, {slowest[1]}")
    sys.exit(1 if outcomes["failed"] else 0)


if __name__ == "__main__":
    main()
