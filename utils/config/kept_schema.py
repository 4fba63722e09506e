"""What a configuration may hold, kept as plain data, so that a mistake in one is told without importing PyTorch.

Type hints are known once every class that a configuration may name has been imported, which takes seconds. A run that
has imported them keeps them in the user's cache folder (`keep`), for as long as none of the files changes that they
come from. `kept_problems` finds what disagrees with them. What only building something shows is found later, with
PyTorch.
"""

from __future__ import annotations

import os
import pickle
import sys
import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from utils.config.components import Argument, Component, Described, DescribedComponent, extras_of, fields_of
from utils.config.schema import problems
from utils.config.wording import LISTS
from utils.errors import Problem
from utils.files.cache_folder import keep_whole, kept_file

_ROOT = Path(__file__).parents[2]
_LIBRARIES = ("torch.version", "torchvision.version")
_JSON_KINDS = (int, float, bool, str, list, dict, tuple, type(None), Any)
_NOT_IN_JSON = bytes  # stands for every other class: JSON can't hold its values either


class _Stamp(NamedTuple):
    """What changes with a file."""

    modified: int
    size: int


class _Kept(NamedTuple):
    """What is kept.

    Attributes:
        stamps: of each file and folder that the hints come from, as it was.
        config: stands for the configuration's class.
    """

    stamps: dict[str, _Stamp]
    config: Described


def kept_problems(config: Any) -> list[Problem]:
    """What `utils.config.schema.problems` finds by the hints that are kept; nothing where none are, or outdated ones.

    Args:
        config: as it was read.
    """
    place = kept_file(_name())
    kept = None if place is None else _read(place)
    return [] if kept is None else problems(config, kept.config, "")


def keep(config: type) -> None:
    """Keep the hints of a configuration's class and of all that it may name, unless they are kept already.

    Nothing is told where that can't be.
    """
    place = kept_file(_name())
    if place is None or _read(place) is not None:
        return
    described = _Describer().fields(config)
    stamps = {str(path): _stamp(path) for path in _sources()}
    keep_whole(place, pickle.dumps(_Kept(stamps, described)))


def _name() -> str:
    """The file's, one for each copy of the project and each Python."""
    what = f"{_ROOT} {sys.version} {sys.prefix}"
    return f"configuration-{sha256(os.fsencode(what)).hexdigest()[:24]}.pickle"


def _read(place: Path) -> _Kept | None:
    """What is kept there, where it still holds."""
    try:
        kept = pickle.loads(place.read_bytes())
        current = isinstance(kept, _Kept) and all(_stamp(path) == stamp for path, stamp in kept.stamps.items())
    except Exception:  # whatever is wrong with it, it isn't needed
        return None
    return kept if current else None


def _stamp(path: str | Path) -> _Stamp:
    found = os.stat(path)
    return _Stamp(found.st_mtime_ns, found.st_size)


def _sources() -> set[Path]:
    """This project's files that are imported, their folders (a new file there may be a new class), and versions."""
    files = {name: Path(getattr(module, "__file__", None) or "/") for name, module in list(sys.modules.items())}
    own = {path for path in files.values() if path.is_relative_to(_ROOT) and not path.is_relative_to(sys.prefix)}
    return own | {path.parent for path in own} | {files[name] for name in _LIBRARIES if name in files}


class _Describer:
    """Turns type hints into such that need no import: each class becomes a `Described`, once."""

    def __init__(self) -> None:
        self._classes: dict[type, Described] = {}
        self._components: dict[Component, DescribedComponent] = {}

    def fields(self, kind: type) -> Described:
        """What stands for a class."""
        if kind not in self._classes:
            fields: dict[str, Argument] = {}
            self._classes[kind] = Described(fields)  # first: a class may hold another of its kind
            fields.update(self._arguments(fields_of(kind)))
        return self._classes[kind]

    def _component(self, component: Component) -> DescribedComponent:
        if component not in self._components:
            described: dict[str, Described] = {}
            further: dict[str, Argument] = {}
            self._components[component] = DescribedComponent(
                (), injected=component.injected, default=component.default, described=described, further=further
            )
            described.update({name: self.fields(kind) for name, kind in component.choices().items()})
            further.update(self._arguments(extras_of(component)))
        return self._components[component]

    def _arguments(self, arguments: Mapping[str, Argument]) -> dict[str, Argument]:
        return {name: Argument(self._hint(each.annotation), each.required) for name, each in arguments.items()}

    def _hint(self, annotation: Any) -> Any:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            base, *marks = arguments
            components = [self._component(mark) for mark in marks if isinstance(mark, Component)]
            hint = dict if components else self._hint(base)
            return Annotated[(hint, *components, *(mark for mark in marks if not isinstance(mark, Component)))]
        if origin in (Union, types.UnionType):
            return Union[tuple(map(self._hint, arguments))]  # noqa: UP007 - of a tuple
        if origin in LISTS:
            return list[self._hint(arguments[0])]  # type: ignore[misc]
        if origin is dict:
            return dict[str, self._hint(arguments[1])]  # type: ignore[misc]
        if is_dataclass(annotation) and isinstance(annotation, type):
            return self.fields(annotation)
        return annotation if origin is Literal or annotation in _JSON_KINDS else _NOT_IN_JSON
