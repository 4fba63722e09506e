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
from dataclasses import dataclass, replace

import numpy as np

from trainer.evaluation.distributions.split import TestSplit
from utils.errors import UserError, nearest
from utils.registry import collect

__all__ = ["DISTRIBUTIONS", "LISTED", "Distribution", "TestSplit", "checked_name", "choices", "remark", "select"]

logger = logging.getLogger(__name__)

DISTRIBUTIONS: dict[str, Callable[..., np.ndarray]] = collect(__name__, __path__)

BY_RULE, LIST_FILE, PUBLISHED_LIST = "by rule", "list file", "published list"
_WHOLE = "as_split"
LISTED = re.compile(r"(forward|backward)(\d+)")
"""Names of distributions that list files may name images for: direction and ratio."""
_NUMBER = r"\d+(?:\.\d+)?"
_NAME = re.compile(rf"(?P<entry>\D*?)(?P<numbers>{_NUMBER}(?:-{_NUMBER})*)?")


@dataclass(frozen=True)
class Distribution:
    """A test distribution.

    Args:
        name: "forward50", "uniform", "backward2", …
        indices: which images of the test split it holds, int64, shape [M].
        selection: how they were chosen: "published list", "list file" (another than the published) or "by rule".
        stands_in: chosen by rule for want of a list, so that they are not the benchmark's images.
    """

    name: str
    indices: np.ndarray
    selection: str = BY_RULE
    stands_in: bool = False


def select(names: Iterable[str], split: TestSplit, *, leave_out: bool = False) -> list[Distribution]:
    """Test distributions by their names, in the order of the names; those with the very same images are one.

    A list file of a distribution's images comes before its rule. A test split that is not uniform is called `as split`.

    Args:
        names: "forward50", "uniform", …
        split: the whole test split.
        leave_out: whether distributions that the split's counts don't allow are left out with a line, not an error.

    Raises:
        UserError: a name that is not in the table, numbers that its function doesn't take, or an empty distribution.
    """
    selected, impossible = [], []
    for name in dict.fromkeys(names):
        try:
            selected.append(_selected(name, split))
        except UserError as error:
            if not leave_out:
                raise
            impossible.append(name)
            reason = str(error).partition(": ")[2]
    if impossible:
        logger.info("Left out: %s: %s", ", ".join(impossible), reason)
    if not selected:
        raise UserError(f"none of the test distributions is possible: {reason}")
    selected = _merged(selected)
    if derived := [distribution.name for distribution in selected if distribution.stands_in]:
        text = (
            "No list files for %s: selecting the test images by the benchmark's rule (not the benchmark's own images)."
        )
        logger.info(text, ", ".join(derived))
    return selected


def remark(distributions: Iterable[Distribution]) -> str:
    """The line below a table that names what was selected by rule for want of lists; "" where nothing was."""
    derived = [distribution.name for distribution in distributions if distribution.stands_in]
    text = "Selected by rule, without list files, so not the benchmark's own images: "
    return text + ", ".join(derived) if derived else ""


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


def _merged(selected: list[Distribution]) -> list[Distribution]:
    """Distributions of the same images become one that has both names."""
    by_images: dict[bytes, Distribution] = {}
    for distribution in selected:
        images = np.sort(distribution.indices).astype(np.int64).tobytes()
        if images in by_images:
            first = by_images[images]
            by_images[images] = replace(first, name=f"{first.name} = {distribution.name}")
        else:
            by_images[images] = distribution
    return list(by_images.values())


def _selected(name: str, split: TestSplit) -> Distribution:
    function, numbers = _rule(name)
    listed = split.listed(name)
    if listed is not None:
        found = Distribution(name, listed.indices, PUBLISHED_LIST if listed.published else LIST_FILE)
    else:
        try:
            indices = function(split, *numbers)
        except ValueError as error:
            raise UserError(f"test distribution {name!r}: {error}") from None
        could_be_listed = split.shifts_are_listed and LISTED.fullmatch(name) and len(indices) < len(split.targets)
        found = Distribution(name, indices, stands_in=bool(could_be_listed))
    if name == _WHOLE:
        found = replace(found, name="uniform" if split.is_uniform else "as split")
    if not len(found.indices):
        raise UserError(f"test distribution {name!r}: holds none of the {len(split.targets)} test images")
    return found


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
