"""Test distributions: selections of the test split by name; one registry.

An entry is a function of `TestSplit` that returns indices of its images. Further parameters of the function stand
behind its name as numbers, joined by hyphens: "uniform", "forward50". A new distribution is a file here that lists it
in `__all__`.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from trainer.evaluation.distributions.split import TestSplit
from utils.errors import UserError, nearest
from utils.registry import collect

__all__ = ["DISTRIBUTIONS", "Distribution", "TestSplit", "checked_name", "choices", "select"]

logger = logging.getLogger(__name__)

DISTRIBUTIONS: dict[str, Callable[..., np.ndarray]] = collect(__name__, __path__)

_NUMBER = r"\d+(?:\.\d+)?"
_NAME = re.compile(rf"(?P<entry>\D*?)(?P<numbers>{_NUMBER}(?:-{_NUMBER})*)?")


@dataclass(frozen=True)
class Distribution:
    """A test distribution.

    Args:
        name: "forward50", "uniform", "backward2", …
        indices: which images of the test split it holds, int64, shape [M].
    """

    name: str
    indices: np.ndarray


def select(names: Iterable[str], split: TestSplit) -> list[Distribution]:
    """Test distributions by their names, in the order of the names.

    A published list of a distribution's images comes before its rule.

    Raises:
        UserError: a name that is not in the table, numbers that its function doesn't take, or an empty distribution.
    """
    selected, derived = [], []
    for name in dict.fromkeys(names):
        function, numbers = _rule(name)
        indices = split.published(name)
        if indices is None:
            try:
                indices = function(split, *numbers)
            except ValueError as error:
                raise UserError(f"test distribution {name!r}: {error}") from None
            if len(indices) < len(split.targets):
                derived.append(name)
        if not len(indices):
            raise UserError(f"test distribution {name!r}: holds none of the {len(split.targets)} test images")
        selected.append(Distribution(name, indices))
    if derived:
        logger.info("Derived by rule, without list files: %s.", ", ".join(derived))
    return selected


def checked_name(name: str) -> str:
    """A distribution's name as it is given, a flag's value for instance.

    Raises:
        UserError: it stands for none.
    """
    _rule(name)
    return name


def choices() -> list[str]:
    """The names that there are; <ratio> and its like stand for numbers: "forward<ratio>", "uniform"."""
    return [_form(entry) for entry in DISTRIBUTIONS]


def _rule(name: str) -> tuple[Callable[..., np.ndarray], list[int | float]]:
    """What a distribution's name stands for: a function, and its arguments beside the split."""
    match = _NAME.fullmatch(name)
    entry, text = (match["entry"], match["numbers"] or "") if match else (name, "")
    if entry not in DISTRIBUTIONS:
        hint = nearest(entry, DISTRIBUTIONS)
        raise UserError(f"test distribution {name!r}: there is none of this name; give {', '.join(choices())}{hint}")
    numbers = [float(number) if "." in number else int(number) for number in text.split("-") if number]
    if len(numbers) != len(_parameters(entry)):
        raise UserError(f"test distribution {name!r}: give {_form(entry)}, with a number for each <…>")
    return DISTRIBUTIONS[entry], numbers


def _form(entry: str) -> str:
    return entry + "-".join(f"<{name}>" for name in _parameters(entry))


def _parameters(entry: str) -> list[str]:
    """Names of an entry's parameters beside the split."""
    return list(inspect.signature(DISTRIBUTIONS[entry]).parameters)[1:]
