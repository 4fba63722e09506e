"""In which folder a run lives: a new one, its checkpoint's own, or the one that `-r auto` finds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from base import RunFolder
from base.run_folder import locked
from utils.config.json_files import read_json
from utils.config.parser import CONFIG_NAME, ConfigParser
from utils.distributed.context import DistributedContext
from utils.errors import UserError
from utils.files.checkpoint import load_checkpoint
from utils.files.checkpoint_schema import require_training_state
from utils.files.provenance import read_processes

WHERE_NOT_WHAT = ("n_gpu", "trainer.parallel", "data_loader.args.num_workers")
"""Keys with which a run may be continued in its own folder on another machine."""

logger = logging.getLogger(__name__)


def read_resumed(config: ConfigParser, distributed: DistributedContext) -> tuple[Path | None, Mapping[str, Any] | None]:
    """The folder to go on in and the checkpoint's content to go on from, before anything is written.

    Either may be None: a run that starts anew has neither; one that takes over the weights of another, or changes
    its configuration, has content and gets a new folder; one that died before its first checkpoint has a folder.
    Processes that torchrun has had to start again go on where they were, whatever `-r` said when they began.

    Raises:
        UserError: the checkpoint that `-r` names can't be used.
    """
    if distributed.restarts:
        folders = [*config.runs_folder().glob("*/"), *([config.resume.parent] if config.resume else [])]
        begun = [path for path in folders if _is_run_of(config, path) and _was_begun_by(distributed, path)]
        if begun:
            path, content = _newest_of(config, begun)
            if content is None and config.resume is not None:  # it died before it had a checkpoint of its own
                content = load_checkpoint(config.resume)
            return path, content
    if config.resumes_automatically:
        return _newest_of(config, config.runs_folder().glob("*/"))
    if config.resume is None:
        return None, None
    content = load_checkpoint(config.resume)
    if not _is_run_of(config, config.resume.parent):
        logger.info("The configuration differs from the one beside %s: starting a new run from it.", config.resume)
        return None, content
    return config.resume.parent, content


def open_folder(config: ConfigParser, path: Path | None, *, keep_last: int) -> RunFolder:
    """The run's folder, taken for this process; a new one with the configuration in it where `path` is None."""
    folder = path if path is not None else config.make_run_folder()
    return locked(RunFolder(folder, keep_last=keep_last))


def _newest_of(config: ConfigParser, candidates: Iterable[Path]) -> tuple[Path | None, Mapping[str, Any] | None]:
    """The newest run of the same configuration, and its newest intact checkpoint."""
    folders = sorted({path for path in candidates if _is_run_of(config, path)}, key=_age, reverse=True)
    for path in folders:
        found = RunFolder(path).newest_good(require_training_state)
        if found is not None:
            config.resume = found[0]
            logger.info("Resuming from %s.", found[0])
            return path, found[1]
    if folders:
        logger.info("No usable checkpoint in %s: restarting that run.", folders[0])
        return folders[0], None
    logger.info("No earlier run of this configuration in %s: starting a new one.", config.runs_folder())
    return None, None


def _was_begun_by(distributed: DistributedContext, folder: Path) -> bool:
    """Whether the processes of this launch have worked on a run."""
    try:
        return any(process.get("launch") == distributed.launch for process in read_processes(folder))
    except UserError:  # it died before it was recorded, or is another's damaged run
        return False


def _age(folder: Path) -> tuple[str, int]:
    """What runs are sorted by: the time in the folder's name, then its number among those of the same second."""
    date, _, rest = folder.name.partition("_")
    time, _, number = rest.partition("_")
    return f"{date}_{time}", int(number) if number.isdigit() else 1


def _is_run_of(config: ConfigParser, folder: Path) -> bool:
    """Whether a folder holds a run of this configuration, wherever it was run."""
    try:
        return _what(read_json(folder / CONFIG_NAME)) == _what(config.config)
    except UserError:
        return False


def _what(config: Mapping[str, Any]) -> Any:
    """A configuration without the keys that say where it is run and not what."""
    content = deepcopy(dict(config))
    for path in WHERE_NOT_WHAT:
        *parents, last = path.split(".")
        section: Any = content
        for name in parents:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section.pop(last, None)
    return content
