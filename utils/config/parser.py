"""`ConfigParser`: a JSON recipe, the flags that override it, and the objects that its sections name."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

from utils.config.changed_types import told_with_origins
from utils.config.components import Component
from utils.config.json_files import read_configuration, with_remarks
from utils.config.origins import Origins
from utils.config.overrides import read_overrides
from utils.config.sections import Section, build
from utils.errors import ConfigError, Problem, UserError
from utils.files.checkpoint_names import checkpoints_of
from utils.files.reading import regular_file
from utils.files.writing import new_folder, write_text

CONFIG_NAME = "config.json"
AUTOMATIC = "auto"


def _newest_within(folder: Path) -> str:
    """A hint at the newest checkpoint in a folder."""
    found = checkpoints_of(folder)
    return f"its newest checkpoint is {found[0]}" if found else "it holds no checkpoint"


class ConfigParser:
    """A configuration as plain data, with where it came from.

    Args:
        config: the content of the JSON file.
        source: the file's name, for messages.
        overrides: path → (value, flag), applied on top of `config`, whole sections before what is in them.
        resume: the checkpoint to continue from, if any.
        resumes_automatically: continue the newest run of this configuration, if there is one.
        files: path → the file that it stands in, where the configuration extends others.
        remarks: path → what stands above the key in a run's `config.json`, as a key that readers pass over.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        source: str,
        overrides: Mapping[str, tuple[Any, str]] | None = None,
        resume: Path | None = None,
        resumes_automatically: bool = False,
        files: Mapping[str, str] | None = None,
        remarks: Mapping[str, str] | None = None,
    ) -> None:
        self.remarks = dict(remarks or {})
        self.config = deepcopy(dict(config))
        self.source = source
        self.resume = resume
        self.resumes_automatically = resumes_automatically
        self.origins = Origins(source, files)
        by_depth = sorted((overrides or {}).items(), key=lambda entry: entry[0].count("."))
        for path, (value, flag) in by_depth:  # a section comes before what is in it
            self.override(path, value, flag)

    @classmethod
    def from_file(cls, path: Path, **options: Any) -> ConfigParser:
        """From a JSON file, with all that it extends; `options` are the constructor's."""
        config, files = read_configuration(path)
        return cls(config, source=str(path), files=files, **options)

    @classmethod
    def from_args(
        cls, arguments: argparse.Namespace, further: Mapping[str, tuple[Any, str]] | None = None
    ) -> ConfigParser:
        """From parsed flags: `-c` names the file, else it lies beside the checkpoint that `-r` names.

        `further` is set after all other flags, as `overrides` are.
        """
        if arguments.resume == "":
            raise UserError("-r '': expected the name of a checkpoint")
        automatic = arguments.resume == AUTOMATIC
        resume = Path(arguments.resume) if arguments.resume and not automatic else None
        if resume is not None and os.path.isdir(resume):
            raise UserError(f"{resume}: is a folder, not a checkpoint (given by -r); {_newest_within(resume)}")
        if resume is not None:
            regular_file(resume, "checkpoint", if_missing=" (given by -r)")
        if arguments.config:
            source = Path(arguments.config)
        elif resume is not None:
            source = resume.parent / CONFIG_NAME
            if not os.path.lexists(source):
                raise UserError(
                    f"{resume}: no {CONFIG_NAME} lies beside this checkpoint (given by -r); name one with -c FILE"
                )
        else:
            raise UserError("no configuration: give one with -c FILE, or a checkpoint with -r FILE")
        overrides = {**read_overrides(arguments), **(further or {})}
        return cls.from_file(source, overrides=overrides, resume=resume, resumes_automatically=automatic)

    def __getitem__(self, name: str) -> Any:
        return self.config[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a top-level key, or `default` where there is none."""
        return self.config.get(name, default)

    def validate(self, find_problems: Callable[[dict[str, Any]], list[Problem]]) -> None:
        """Raise one `ConfigError` with everything that `find_problems` finds, each with where it was set."""
        found = find_problems(self.config)
        if found:
            raise ConfigError(told_with_origins(found, self.config, self.origins))

    def init_obj(self, name: str, module: ModuleType, *args: Any, **kwargs: Any) -> Any:
        """Build what section `name` describes: `module.<type>(*args, **args_of_the_section, **kwargs)`.

        `type` is looked up in the module's `__all__` only. What the caller passes may not be set in the section.
        """
        content = self.config[name]
        section = Section(content["type"], content.get("args", {}), origins=self.origins)
        return build(section, Component((module,), injected=frozenset(kwargs)), *args, context=kwargs, path=name)

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
        write_text(folder / CONFIG_NAME, self.as_json())

    def as_json(self) -> str:
        """The configuration, overrides and remarks included, as a file has it."""
        return json.dumps(with_remarks(self.config, self.remarks), indent=2, ensure_ascii=False) + "\n"

    def override(self, path: str, value: Any, flag: str) -> None:
        """Set the key at a path, as the flag asks.

        Raises:
            ConfigError: the path leads through a single value.
        """
        *parents, last = path.split(".")
        section = self.config
        for depth, key in enumerate(parents):
            parent = ".".join(parents[: depth + 1])
            if key not in section:
                section[key] = {}
                self.origins.flags[parent] = flag
            section = section[key]
            if not isinstance(section, dict):
                raise ConfigError([Problem(path, f"{parent} is a single value, not a section (set by {flag})")])
        section[last] = value
        self.origins.flags[path] = flag
