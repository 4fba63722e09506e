"""What a configuration may hold, cached, so that a mistake in one is told without importing PyTorch.

Type hints are known once every class that a configuration may name has been imported, which takes seconds. A run that
has imported them caches them (`cache_schema`): a pickle of type hints in which a `Described` stands for each class. It
holds for as long as none of the files changes that they come from, and none is new beside them. `cached_problems` finds
what disagrees with them; what only building something shows is found later, with PyTorch.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pickle
import sys
import time
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
from utils.files.cache_folder import cached_file, write_cached

_ROOT = Path(__file__).parents[2]
_BEGUN = time.time_ns()  # files that are older are as they were when they were imported
_CLOCKS_DIFFER = 2 * 10**9  # ns
_JSON_KINDS = (int, float, bool, str, list, dict, tuple, type(None), Any)
_NOT_IN_JSON = bytes  # stands for every other class: JSON can't hold its values either
_logger = logging.getLogger(__name__)


class _Stamp(NamedTuple):
    """What changes with a file."""

    modified: int
    size: int


class _CachedSchema(NamedTuple):
    """What is cached.

    Attributes:
        libraries: Python and PyTorch.
        sources: folder → name → stamp of the files that the hints may come from.
        config: stands for the configuration's class.
    """

    libraries: str
    sources: dict[str, dict[str, _Stamp]]
    config: Described


def cached_problems(config: Any) -> list[Problem]:
    """What `utils.config.schema.problems` finds by the cached hints; nothing where there are none, or outdated ones.

    Args:
        config: as it was read.
    """
    path = _path()
    schema = None if path is None else _read(path)
    return [] if schema is None else problems(config, schema.config, "")


def cache_schema(config: type) -> None:
    """Cache the hints of a configuration's class and of all that it may name, unless that has been done.

    Nothing happens where it can't be done, or a file may have changed since it was imported.
    """
    path = _path()
    if path is None or _read(path) is not None:
        return
    try:
        sources = {folder: _stamps(folder) for folder in _source_folders()}
        newest = max((stamp.modified for stamps in sources.values() for stamp in stamps.values()), default=_BEGUN)
        if newest < _BEGUN - _CLOCKS_DIFFER:
            described = _Describer().fields(config)
            write_cached(path, pickle.dumps(_CachedSchema(_libraries(), sources, described)))
    except Exception as error:  # whatever it is, a run does without
        _logger.debug("the schema isn't cached: %s", error)


def _path() -> Path | None:
    """The file's, one for each copy of the project."""
    return cached_file(f"configuration-{sha256(os.fsencode(_ROOT)).hexdigest()[:24]}.pickle")


def _read(path: Path) -> _CachedSchema | None:
    """What is cached there, where it still holds."""
    try:
        schema = pickle.loads(path.read_bytes())
        holds = (
            isinstance(schema, _CachedSchema)
            and schema.libraries == _libraries()
            and all(_stamps(folder) == stamps for folder, stamps in schema.sources.items())
        )
    except Exception:  # whatever is wrong with it, a run does without
        return None
    return schema if holds else None


def _libraries() -> str:
    """Python, and which PyTorch of which version would be imported."""
    found = importlib.util.find_spec("torch")
    version = Path(found.origin).with_name("version.py") if found is not None and found.origin else Path("/")
    return f"{sys.version} {version} {_stamp(version)}"


def _stamp(path: str | Path) -> _Stamp:
    status = os.stat(path)
    return _Stamp(status.st_mtime_ns, status.st_size)


def _stamps(folder: str) -> dict[str, _Stamp]:
    """Of each Python file in a folder; of a folder within it, the name counts alone."""
    with os.scandir(folder) as entries:
        return {
            entry.name: _Stamp(0, 0) if entry.is_dir() else _stamp(entry.path)
            for entry in entries
            if entry.name.endswith(".py") or (entry.is_dir() and entry.name != "__pycache__")
        }


def _source_folders() -> list[str]:
    """The folders of this project's imported modules.

    Not its own folder: the scripts there define nothing that a configuration names.
    """
    files = [Path(getattr(module, "__file__", None) or "/") for module in list(sys.modules.values())]
    environment = Path(sys.prefix)
    libraries = environment if environment.is_relative_to(_ROOT) else None  # a virtual environment within the project
    own = {
        str(path.parent)
        for path in files
        if path.is_relative_to(_ROOT)
        and path.parent != _ROOT
        and (libraries is None or not path.is_relative_to(libraries))
    }
    return sorted(own)


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
