"""The splits of a data set by name, whatever a split is: files at first, images that can be read in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Images = TypeVar("Images")
Mapped = TypeVar("Mapped")

EVALUATED_SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Splits(Generic[Images]):
    """Name → images of each split, and the names of the classes.

    There are "train", "validation" and "test" at least; where a data set has no validation images of its own, the last
    two are the same object. Every other split ("unlabelled", say) is one to train on.

    Args:
        by_name: the splits.
        class_names: a name for each class, length C.
    """

    by_name: Mapping[str, Images]
    class_names: list[str]

    def __getitem__(self, name: str) -> Images:
        return self.by_name[name]

    def replaced(self, **splits: Images) -> Splits[Images]:
        """The same with some splits replaced or added."""
        return Splits({**self.by_name, **splits}, self.class_names)

    def map(self, make: Callable[[Images], Mapped]) -> Splits[Mapped]:
        """`make` of each split; what stands under two names is made once."""
        made = {id(images): make(images) for images in self.by_name.values()}
        return Splits({name: made[id(images)] for name, images in self.by_name.items()}, self.class_names)

    def number(self, name: str) -> int:
        """0 for the three splits that every data set has, and 1, 2, … for the others."""
        others = [other for other in self.by_name if other not in ("train", *EVALUATED_SPLITS)]
        return 1 + others.index(name) if name in others else 0
