"""Test distributions: selections of the test split by name; one registry.

An entry is a function of `TestSplit` that returns indices of its images. Further parameters of the function stand
behind its name as numbers, joined by hyphens: "uniform", "forward50". A new distribution is a file here that lists it
in `__all__`. A name that is a file's stands for the distributions in it: see `files`.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from trainer.evaluation.distributions.distribution import LIST_FILE, PUBLISHED_LIST, Distribution
from trainer.evaluation.distributions.files import SUFFIXES, of_file
from trainer.evaluation.distributions.split import TestSplit
from utils.config.wording import shown
from utils.errors import UserError, nearest
from utils.files.reading import regular_file
from utils.registry import collect

__all__ = ["DISTRIBUTIONS", "LISTED", "Distribution", "TestSplit", "checked_name", "choices", "remark", "select"]

logger = logging.getLogger(__name__)

DISTRIBUTIONS: dict[str, Callable[..., np.ndarray]] = collect(__name__, __path__)

_WHOLE = "as_split"
LISTED = re.compile(r"(forward|backward)(\d+)")
"""Names of distributions that list files may name images for: direction and ratio."""
_NUMBER = r"\d+(?:\.\d+)?"
_NAME = re.compile(rf"(?P<entry>\D*?)(?P<numbers>{_NUMBER}(?:-{_NUMBER})*)?")


def select(names: Iterable[str], split: TestSplit, *, leave_out: bool = False) -> list[Distribution]:
    """Test distributions by their names, in the order of the names; those with the very same images are one.

    A list file of a distribution's images comes before its rule. A test split that is not uniform is called `as split`.

    Args:
        names: "forward50", "uniform", … or files: see `trainer.evaluation.distributions.files`.
        split: the whole test split.
        leave_out: whether distributions that the split's counts don't allow are left out with a line, not an error.

    Raises:
        UserError: a name that is not in the table, numbers that its function doesn't take, or an empty distribution;
            what is wrong with a file, and a distribution in it that is called like another.
    """
    selected: list[Distribution] = []
    impossible = []
    for name in dict.fromkeys(names):
        try:
            selected += _of_file(Path(name), split, selected) if _is_file(name) else [_selected(name, split)]
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
    """A distribution's name as it is given, a flag's value for instance; what a file holds is checked with the data.

    Raises:
        UserError: it stands for none, or there is no such file.
    """
    if _is_file(name):
        regular_file(Path(name), "file of test distributions")
    else:
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


def _is_file(name: str) -> bool:
    """Whether a name is a file's: by its ending, or since it is no other and there is such a file."""
    path = Path(name)
    return path.suffix.lower() in SUFFIXES or (not _is_rule(name) and path.is_file())


def _of_file(path: Path, split: TestSplit, others: list[Distribution]) -> list[Distribution]:
    """Those of a file. Result files know a distribution by its name, so that none may be called like another."""
    found = of_file(path, split)
    for distribution in found:
        if distribution.name in ("as split", "as_split") or _is_rule(distribution.name):
            told = "is the name of a rule: choose another"
        elif distribution.name in {other.name for other in others}:
            told = "stands in another file, too: choose another name"
        else:
            continue
        raise UserError(f"{path}: {shown(distribution.name)} {told}")
    return found


def _is_rule(name: str) -> bool:
    try:
        _rule(name)
    except UserError:
        return False
    return True


def _rule(name: str) -> tuple[Callable[..., np.ndarray], list[int | float]]:
    """What a distribution's name stands for: a function, and its arguments beside the split."""
    match = _NAME.fullmatch(name)
    entry, text = (match["entry"], match["numbers"] or "") if match else (name, "")
    if entry not in DISTRIBUTIONS:
        hint = nearest(entry, DISTRIBUTIONS)
        raise UserError(
            f"test distribution {name!r}: there is none of this name; give {', '.join(choices())} or a file{hint}"
        )
    numbers = [float(number) if "." in number else int(number) for number in text.split("-") if number]
    if len(numbers) != len(_parameters(entry)):
        raise UserError(f"test distribution {name!r}: give {_form(entry)}, with a number for each <…>")
    return DISTRIBUTIONS[entry], numbers


def _form(entry: str) -> str:
    return entry + "-".join(f"<{name}>" for name in _parameters(entry))


def _parameters(entry: str) -> list[str]:
    """Names of an entry's parameters beside the split."""
    return list(inspect.signature(DISTRIBUTIONS[entry]).parameters)[1:]
