"""Tables of several class priors, as people write them: a row for each, a column for each class; CSV or JSON."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from utils.config.wording import shown
from utils.errors import UserError
from utils.files.class_tables import csv_rows, finite_number, json_content, json_numbers
from utils.files.reading import read_text_file

_MOST_BYTES = 100_000_000

NamedNumbers = dict[str, list[tuple[str, float]]]
"""Name of a prior → (class, number) of each class, as of `utils.files.class_tables.read_class_numbers`."""


def read_priors(path: Path) -> NamedNumbers:
    """Class priors by their names, in the order of the file: frequencies, percentages or counts, not scaled.

    A CSV has a header: any word above the priors' names, then the classes, by name or by index. A JSON is an object of
    objects, `{name: {class: number}}`, or of lists in the order of the classes.

    Args:
        path: JSON if its name ends so, else CSV (commas, semicolons or tabs).

    Raises:
        UserError: in one line: unreadable, empty, a name that stands twice or is none, a number that is none or
            negative, or a prior of nothing but zeros.
    """
    text = read_text_file(path, "file of test distributions", most_bytes=_MOST_BYTES)
    priors = _of_json(path, text) if path.suffix.lower() == ".json" else _of_csv(path, text)
    if not priors:
        raise UserError(f"{path}: is empty; write the classes in the first line, and a distribution in each line below")
    for name, numbers in priors.items():
        if not name or not name.isprintable():
            raise UserError(f"{path}: {shown(name)} is no name of a distribution")
        for label, number in numbers:
            if number < 0:
                raise UserError(f"{path}: {shown(name)} has {number:g} for {shown(label)}; it must be at least 0")
        if not any(number for _, number in numbers):
            raise UserError(f"{path}: {shown(name)} has no class above 0")
    return priors


def _of_csv(path: Path, text: str) -> NamedNumbers:
    priors: NamedNumbers = {}
    classes: list[str] = []
    for line, cells in csv_rows(path, text):
        if not classes:
            classes = [cell.strip() for cell in cells[1:]]
            if twice := [name for name, times in Counter(classes).items() if times > 1]:
                raise UserError(f"{path}, line {line}: the class {shown(twice[0])} stands twice")
            if not classes:
                raise UserError(f"{path}, line {line}: expected a header: the distributions' column, then the classes")
            continue
        name = cells[0].strip()
        if len(cells) != len(classes) + 1:
            told = f"expected a name and a number for each of {len(classes)} classes; found {len(cells)} columns"
            raise UserError(f"{path}, line {line}: {told}")
        if name in priors:
            raise UserError(f"{path}, line {line}: the distribution {shown(name)} stands twice")
        numbers = [finite_number(cell) for cell in cells[1:]]
        if None in numbers:
            wrong = numbers.index(None)
            raise UserError(f"{path}, line {line}: {classes[wrong]}: {shown(cells[wrong + 1])} is no finite number")
        priors[name] = [(label, number) for label, number in zip(classes, numbers, strict=True) if number is not None]
    return priors


def _of_json(path: Path, text: str) -> NamedNumbers:
    content = json_content(path, text)
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object of distributions by name")
    return {name: json_numbers(path, given, f"{shown(name)}: ") for name, given in content.items()}
