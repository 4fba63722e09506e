"""A configuration under way: the recipe, what was done to it, and the file that it becomes."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.odd_input_campaign.commands import ROOT
from benchmarks.odd_input_campaign.config_keys import Doc, Raw
from benchmarks.odd_input_campaign.material import tiny_recipe

_OTHERS = sorted((ROOT / "configs").rglob("*.json"))
_DIGITS = ROOT / "configs/digits"


@dataclass
class Draft:
    """A recipe that is being mutated.

    Args:
        doc: the recipe as an object.
        base: which recipe it was.
        trains: digits, so that it can be trained as it stands.
        folder: where its files are written.
        flags: of the command line, behind `-c FILE`.
        done: what was done to it, in words.
        legal: whether that is allowed; None: the documentation doesn't say.
        content: the file's bytes where they are more than the recipe's JSON.
        file: the configuration's name.
        is_written: nothing is to be written any more.
    """

    doc: Doc
    base: str
    trains: bool
    folder: Path
    flags: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    legal: bool | None = True
    content: bytes | None = None
    file: str = "recipe.json"
    is_written: bool = False

    def mark(self, what: str, legal: bool | None = True) -> None:
        """Say what was done, and whether it is allowed."""
        self.done.append(what)
        if legal is not True:
            self.legal = legal

    def write(self) -> None:
        """Write the file, if a mutation has not put something else in its place."""
        path = self.folder / self.file
        if self.is_written:
            return
        if self.content is not None:
            path.write_bytes(self.content)
        elif not path.exists() and not path.is_symlink():
            path.write_text(to_json(self.doc), encoding="utf8")


def to_json(doc: Any) -> str:
    """JSON with `Raw` text as it is."""
    parts: list[str] = []

    def placeholder(value: Any) -> Any:
        if isinstance(value, Raw):
            parts.append(str(value))
            return f"@raw{len(parts) - 1}@"
        if isinstance(value, dict):
            return {name: placeholder(item) for name, item in value.items()}
        return [placeholder(item) for item in value] if isinstance(value, list) else value

    text = json.dumps(placeholder(doc), indent=1, ensure_ascii=False)
    for number, part in enumerate(parts):
        text = text.replace(f'"@raw{number}@"', part)
    return text


def draw(random_: random.Random, folder: Path) -> Draft:
    """A recipe to begin with: of digits, tiny, in half of the cases; else any of `configs/` that stands alone."""
    if random_.random() < 0.5:
        return Draft(tiny_recipe(), "tiny", True, folder)
    while True:
        path = random_.choice(_OTHERS)
        text = path.read_text(encoding="utf8")
        if '"extends"' not in text:
            break
    doc = json.loads(text)
    return Draft(doc, path.stem, False, folder)


def digits_recipe(name: str) -> str:
    """The whole path of one of `configs/digits`."""
    return str(_DIGITS / f"config_digits_ir40_{name}.json")
