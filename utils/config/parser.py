"""`ConfigParser`: a JSON recipe, the flags that override it, and the objects that its sections name."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from utils.config.overrides import read_overrides
from utils.errors import ConfigError, UserError, nearest
from utils.files.writing import new_folder, write_text

CONFIG_NAME = "config.json"
AUTOMATIC = "auto"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; anything else is a `UserError` with line and column."""
    try:
        content = json.loads(path.read_text(encoding="utf8"), object_pairs_hook=_without_duplicates)
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read as a configuration ({error})") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except _DuplicateKeyError as error:
        raise UserError(f"{path}: the key '{error}' stands twice in one object; which one counts?") from None
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, thousands of brackets
        raise UserError(f"{path}: can't be read as a configuration ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object with keys; got a {type(content).__name__}")
    return content


class _DuplicateKeyError(Exception):
    """A key that an object of a JSON file has twice; plain JSON readers silently take the last."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise _DuplicateKeyError(twice)
    return dict(pairs)


def _newest_within(folder: Path) -> str:
    """A hint at the newest checkpoint in a folder, by epoch and step."""
    named = ((re.fullmatch(r"checkpoint-epoch(\d+)(?:-step(\d+))?\.pth", path.name), path) for path in folder.iterdir())
    places = [((int(name[1]), int(name[2]) if name[2] else math.inf), path) for name, path in named if name]
    return f"its newest checkpoint is {max(places)[1]}" if places else "it holds no checkpoint"


class ConfigParser:
    """A configuration as plain data, with where it came from.

    Args:
        config: the content of the JSON file.
        source: the file's name, for messages.
        overrides: path → (value, flag), applied on top of `config`.
        resume: the checkpoint to continue from, if any.
        resumes_automatically: continue the newest run of this configuration, if there is one.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        source: str,
        overrides: Mapping[str, tuple[Any, str]] | None = None,
        resume: Path | None = None,
        resumes_automatically: bool = False,
    ) -> None:
        self.config = deepcopy(dict(config))
        self.source = source
        self.resume = resume
        self.resumes_automatically = resumes_automatically
        self._flags: dict[str, str] = {}
        for path, (value, flag) in (overrides or {}).items():
            self._set(path, value, flag)

    @classmethod
    def from_args(cls, arguments: argparse.Namespace) -> ConfigParser:
        """From parsed flags: `-c` names the file, else it lies beside the checkpoint that `-r` names."""
        automatic = arguments.resume == AUTOMATIC
        resume = Path(arguments.resume) if arguments.resume and not automatic else None
        if resume is not None and resume.is_dir():
            raise UserError(f"{resume}: is a folder, not a checkpoint (given by -r); {_newest_within(resume)}")
        if resume is not None and not resume.is_file():
            raise UserError(f"{resume}: no such checkpoint (given by -r)")
        if arguments.config:
            source = Path(arguments.config)
        elif resume is not None:
            source = resume.parent / CONFIG_NAME
            if not source.is_file():
                raise UserError(
                    f"{resume}: no {CONFIG_NAME} lies beside this checkpoint (given by -r); name one with -c FILE"
                )
        else:
            raise UserError("no configuration: give one with -c FILE, or a checkpoint with -r FILE")
        return cls(
            read_json(source),
            source=str(source),
            overrides=read_overrides(arguments),
            resume=resume,
            resumes_automatically=automatic,
        )

    def __getitem__(self, name: str) -> Any:
        return self.config[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a top-level key, or `default` where there is none."""
        return self.config.get(name, default)

    def validate(self, find_problems: Callable[[dict[str, Any]], list[str]]) -> None:
        """Raise one `ConfigError` with everything that `find_problems` finds, each with where it was set."""
        found = find_problems(self.config)
        if found:
            raise ConfigError(self._with_origin(line) for line in found)

    def fail(self, problem: str) -> NoReturn:
        """Raise a `ConfigError` about a line "path: what is wrong", with where the path was set."""
        raise ConfigError(self._with_origin(problem))

    def init_obj(self, name: str, module: ModuleType, *args: Any, **kwargs: Any) -> Any:
        """Build what section `name` describes: `module.<type>(*args, **args_of_the_section, **kwargs)`.

        `type` is looked up in the module's `__all__` only. What the caller passes may not be set in the section.
        """
        section = self.config[name]
        if section["type"] not in module.__all__:
            hint = nearest(section["type"], module.__all__)
            line = f"{name}.type: {section['type']!r} is not one of {', '.join(module.__all__)}{hint}"
            raise ConfigError(self._with_origin(line))
        given = section.get("args", {})
        twice = sorted(set(given) & set(kwargs))
        if twice:
            raise ConfigError(self._with_origin(f"{name}.args.{twice[0]}: is set by the program and can't be set here"))
        try:
            return getattr(module, section["type"])(*args, **given, **kwargs)
        except ValueError as error:
            raise ConfigError(self._with_origin(f"{name}: {error}")) from error

    def runs_folder(self) -> Path:
        """Where the runs of this name lie: `<save_dir>/models/<name>/`."""
        return Path(self.config["trainer"]["save_dir"]) / "models" / self.config["name"]

    def make_run_folder(self) -> Path:
        """Make `<save_dir>/models/<name>/<run_id>/`, never one that exists, with `config.json` in it."""
        folder = new_folder(self.runs_folder())
        self.write(folder)
        return folder

    def write(self, folder: Path) -> None:
        """Write the configuration, overrides included, into a run's folder."""
        write_text(folder / CONFIG_NAME, json.dumps(self.config, indent=2, ensure_ascii=False) + "\n")

    def _set(self, path: str, value: Any, flag: str) -> None:
        *parents, last = path.split(".")
        section = self.config
        for depth, key in enumerate(parents):
            parent = ".".join(parents[: depth + 1])
            if key not in section:
                section[key] = {}
                self._flags[parent] = flag
            section = section[key]
            if not isinstance(section, dict):
                raise ConfigError(f"{path}: {parent} holds no keys (set by {flag})")
        section[last] = value
        self._flags[path] = flag

    def _with_origin(self, line: str) -> str:
        """A problem and where it was set: by a flag for its key or a section around it, else in the file."""
        path = line.partition(":")[0].partition("[")[0]
        names = path.split(".")
        for length in range(len(names), 0, -1):
            if flag := self._flags.get(".".join(names[:length])):
                return f"{line} (set by {flag})"
        within = sorted({flag for key, flag in self._flags.items() if key.startswith(f"{path}.")})
        return f"{line} (in {', with '.join([self.source, *within])})"
