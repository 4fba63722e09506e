"""Configurations: some legal changes of a recipe, then one that is legal or not; `train.py` is given the outcome."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from benchmarks.odd_input_campaign import (
    config_files,
    config_flags,
    config_limits,
    config_parts,
    config_texts,
    config_values,
)
from benchmarks.odd_input_campaign.cases import Case
from benchmarks.odd_input_campaign.drafts import Draft, draw

_TRAINED = 0.25  # of the legal ones that can be

Family = Callable[[Draft, random.Random], None]
FAMILIES: tuple[tuple[Family, int], ...] = (
    (config_values.illegal_values, 20),
    (config_values.legal_values, 12),
    (config_values.texts, 7),
    (config_values.missing_keys, 5),
    (config_values.unknown_keys, 9),
    (config_values.whole_sections, 5),
    (config_values.between_keys, 7),
    (config_limits.huge_values, 4),
    (config_limits.limits, 8),
    (config_files.long_chains, 1),
    (config_parts.optimisers, 5),
    (config_parts.schedules, 8),
    (config_parts.tau_lists, 7),
    (config_parts.networks, 3),
    (config_texts.texts, 13),
    (config_files.places, 4),
    (config_files.chains, 7),
    (config_files.children, 5),
    (config_flags.flags, 9),
    (config_flags.assignments, 9),
    (config_flags.lines, 4),
)
"""What is done last, with weights."""

_BY_NAME_ALONE = (config_files.children, config_texts.texts)  # what they write would not have the earlier changes


def generate(random_: random.Random, folder: Path) -> Case:
    """A mutated configuration in `folder`, and its verdict."""
    draft = draw(random_, folder)
    (family,) = random_.choices([family for family, _ in FAMILIES], [weight for _, weight in FAMILIES])
    if family not in _BY_NAME_ALONE and random_.random() < 0.4:
        config_values.legal_values(draft, random_)
    family(draft, random_)
    draft.write()
    trained = draft.trains and (draft.legal is not True or random_.random() < _TRAINED)
    return Case(
        what=f"{draft.base}; {'; '.join(draft.done)}",
        legal=draft.legal,
        command="train" if trained else "build",
        flags=["-c", draft.file, *draft.flags],
        refusals=(2,) if draft.legal is not None else (1, 2),
        absent=("runs/models/*/*",) if draft.legal is False else (),
    )
