"""What a page is made of: sections of words, pictures, tables, mistakes and texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer.report.content import Mistake

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure, drawn where it is needed, with what stands in its place for who can't see it.

    Args:
        name: of its file, without the ending.
        figure: draws it from `shown`.
        shown: everything that it depends on: numbers and texts, arrays, dataclasses, sequences and mappings of these.
        alt: what is to be seen, in words.
        caption: how it is to be read.
    """

    name: str
    figure: Callable[[Any], Figure]
    shown: Any
    alt: str
    caption: str


@dataclass(frozen=True)
class Table:
    """Cells as texts; the first of each row is its header. `words`: all of them are words."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False


@dataclass(frozen=True, eq=False)
class Part:
    """A section of the page; `key` is its address."""

    key: str
    title: str
    words: Sequence[str] = ()
    drawn: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    mistakes: Sequence[Mistake] = ()
    texts: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say in it."""
        return not (self.words or self.drawn or self.tables or self.mistakes or self.texts)


@dataclass(frozen=True, eq=False)
class Page:
    """A page.

    Args:
        title: its heading.
        headline: what came of it, in sentences.
        missing: what is not there, a sentence each.
        parts: its sections.
        footer: what it was made from.
    """

    title: str
    headline: Sequence[str]
    missing: Sequence[str]
    parts: Sequence[Part]
    footer: str
