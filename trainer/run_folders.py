"""In which folder a run lives: a new one, its checkpoint's own, or the one that `-r auto` finds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from base import RunFolder
from base.run_folder import locked
from trainer.continuation import changes_since, run_differences
from utils.config.differences import ABSENT, Difference
from utils.config.json_files import read_json
from utils.config.parser import CONFIG_NAME, ConfigParser
from utils.distributed.context import DistributedContext
from utils.errors import UserError
from utils.files.checkpoint import load_checkpoint
from utils.files.checkpoint_schema import require_training_state
from utils.files.provenance import read_processes

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
    if changes := _changes(config, config.resume, content):
        logger.info("The configuration differs from that of %s: starting a new run from it.", config.resume)
        for change in changes:
            logger.info("  %s", change)
        return None, content
    return config.resume.parent, content


def open_folder(config: ConfigParser, path: Path | None, *, keep_last: int) -> RunFolder:
    """The run's folder, taken for this process; a new one with the configuration in it where `path` is None."""
    folder = path if path is not None else config.make_run_folder()
    return locked(RunFolder(folder, keep_last=keep_last))


def newest_first(folders: Iterable[Path]) -> list[Path]:
    """Folders of runs by the time in their names, and the number among those of the same second."""
    return sorted(folders, key=_age, reverse=True)


def _newest_of(config: ConfigParser, candidates: Iterable[Path]) -> tuple[Path | None, Mapping[str, Any] | None]:
    """The newest run of the same configuration, and its newest intact checkpoint."""
    folders = newest_first({path for path in candidates if _is_run_of(config, path)})
    for path in tuple(folders):
        found = RunFolder(path).newest_good(require_training_state)
        if found is not None and (changes := changes_since(found[1], config.config)):
            logger.info("%s is of another configuration than the one beside it: passed over.", found[0])
            for change in changes:
                logger.info("  %s", change)
            folders.remove(path)
        elif found is not None:
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
    """Whether a folder holds a run of this configuration, wherever it was run, as far as its `config.json` says."""
    try:
        return not run_differences(_beside(folder), config.config)
    except UserError:
        return False


def _beside(folder: Path) -> dict[str, Any]:
    return dict(read_json(folder / CONFIG_NAME))


def _changes(config: ConfigParser, checkpoint: Path, content: Mapping[str, Any]) -> list[Difference]:
    """What a configuration changes: against the one within the checkpoint, or else against the one beside it."""
    if changes := changes_since(content, config.config):
        return changes
    try:
        return run_differences(_beside(checkpoint.parent), config.config)
    except UserError:
        return [Difference(CONFIG_NAME, ABSENT, "the configuration")]
