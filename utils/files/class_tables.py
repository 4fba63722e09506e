"""Small tables of one number for each class, as people write them: CSV or JSON, by class name or by index."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from utils.config.json_files import UnreadableJsonError, parse_json
from utils.config.wording import shown
from utils.errors import UserError, nearest
from utils.files.reading import read_text_file

_MOST_BYTES = 10_000_000


def read_class_numbers(path: Path, what: str) -> list[tuple[str, float]]:
    """(class, number) of each line or key.

    A CSV has the columns class and number, with or without a header; a JSON is an object of numbers by class, or a list
    in the order of the classes, which then counts as by index.

    Args:
        path: JSON if its name ends so, else CSV (commas, semicolons or tabs).
        what: the table is, for messages: "prior".

    Raises:
        UserError: in one line: unreadable, empty, a number that is none, or a class that stands twice.
    """
    text = read_text_file(path, f"file of a {what}", most_bytes=_MOST_BYTES)
    pairs = json_numbers(path, json_content(path, text)) if path.suffix.lower() == ".json" else _of_csv(path, text)
    if not pairs:
        raise UserError(f"{path}: is empty; write one {what} for each class")
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise UserError(f"{path}: the class {shown(name)} stands twice")
        seen.add(name)
    return pairs


def by_class(path: Path, numbers: Sequence[tuple[str, float]], class_names: Sequence[str]) -> np.ndarray:
    """The numbers in the order of the classes, float64 [C]; classes are named, or all counted from 0.

    Raises:
        UserError: a class is missing or unknown.
    """
    names = [name for name, _ in numbers]
    places = {name: place for place, name in enumerate(class_names)}
    if not any(name in places for name in names):
        places = {str(place): place for place in range(len(class_names))}
    for name in names:
        if name not in places:
            raise UserError(f"{path}: there is no class {shown(name)}{nearest(name, places)}")
    missing = [str(name) for name, place in places.items() if name not in set(names)]
    if missing:
        listed = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise UserError(f"{path}: {len(missing)} of {len(class_names)} classes are missing: {listed}")
    found = np.empty(len(class_names))
    for name, number in numbers:
        found[places[name]] = number
    return found


def read_prior(path: Path) -> list[tuple[str, float]]:
    """A class prior from a file, scaled to the sum 1; see `read_class_numbers`.

    Raises:
        UserError: what `read_class_numbers` says; a negative entry, or a sum that is not 1 within a hundredth.
    """
    pairs = read_class_numbers(path, "prior")
    for name, number in pairs:
        if number < 0:
            raise UserError(f"{path}: the prior of {shown(name)} is {number:g}; it must be at least 0")
    total = math.fsum(number for _, number in pairs)
    if abs(total - 1) > 0.01:
        raise UserError(f"{path}: the priors add up to {total:g}; give frequencies, with the sum 1")
    return [(name, number / total) for name, number in pairs]


def read_class_counts(path: Path) -> list[tuple[str, float]]:
    """Images of each class from a file; see `read_class_numbers`.

    Raises:
        UserError: what `read_class_numbers` says; an entry that is no count, or no images at all.
    """
    pairs = read_class_numbers(path, "count")
    for name, number in pairs:
        if number < 0 or number != int(number):
            raise UserError(f"{path}: {shown(name)} has {number:g} images; give whole numbers from 0")
    if not any(number for _, number in pairs):
        raise UserError(f"{path}: no class has an image")
    return pairs


def csv_rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of a CSV's lines that are not empty; separated by what is most frequent in the first line.

    Raises:
        UserError: it is no text, or no CSV.
    """
    if "\0" in text:
        raise UserError(f"{path}: is no text: it holds NUL characters")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise UserError(f"{path}: can't be read as CSV: {error}") from None
    return ((line, cells) for line, cells in enumerate(lines, 1) if cells)


def json_content(path: Path, text: str) -> object:
    """What a JSON file holds.

    Raises:
        UserError: it is no JSON.
    """
    try:
        content: object = parse_json(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: is no JSON: {error.msg}") from None
    except UnreadableJsonError as error:
        raise UserError(f"{path}: {error}") from None
    return content


def json_numbers(path: Path, content: object, where: str = "") -> list[tuple[str, float]]:
    """(class, number) of each entry of an object, or of a list in the order of the classes.

    Raises:
        UserError: it is neither, or a number is none; `where` in the file comes before.
    """
    if isinstance(content, list):
        content = {str(place): number for place, number in enumerate(content)}
    if not isinstance(content, dict):
        raise UserError(f"{path}: {where}expected an object of numbers by class, or a list of numbers")
    pairs = []
    for name, given in content.items():
        number = None if isinstance(given, bool | str) else finite_number(given)
        if number is None:
            raise UserError(f"{path}: {where}{shown(name)}: {shown(given)} is no finite number")
        pairs.append((name, number))
    return pairs


def finite_number(given: object) -> float | None:
    """A number, or text that is one, as a float; None where it is no finite one."""
    try:
        number = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _of_csv(path: Path, text: str) -> list[tuple[str, float]]:
    pairs: list[tuple[str, float]] = []
    for line, cells in csv_rows(path, text):
        if len(cells) != 2:
            raise UserError(f"{path}, line {line}: expected a class and a number, two columns; found {len(cells)}")
        name, number = cells[0].strip(), finite_number(cells[1])
        if number is None and not pairs and line == 1:
            continue  # the header
        if number is None:
            raise UserError(f"{path}, line {line}: {shown(cells[1])} is no finite number")
        pairs.append((name, number))
    return pairs
