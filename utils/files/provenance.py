"""What a result depends on beside its configuration: versions, commit, device, command. Kept in the run's folder."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from utils.config.json_files import parse_json
from utils.distributed.context import DistributedContext
from utils.errors import UserError
from utils.files.reading import read_text_file
from utils.files.writing import write_text

RUN_FACTS_NAME = "run.json"
_PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scikit-learn", "pillow")
_MOST_BYTES = 10_000_000
_ROOT = Path(__file__).resolve().parents[2]


def process_facts(device: torch.device) -> dict[str, Any]:
    """Everything about this process that another result would have to share to be the same."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", *sys.argv]),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})",
        "cpu_threads": torch.get_num_threads(),
    }


def record_process(folder: Path, device: torch.device, seed: int, distributed: DistributedContext) -> None:
    """Add this process (and those beside it) to those that have worked on the run in `folder`."""
    path = folder / RUN_FACTS_NAME
    processes = read_processes(folder) if path.is_file() else []
    facts = {"seed": seed, **process_facts(device), "at_once": distributed.size, "launch": distributed.launch}
    content = {"processes": [*processes, facts]}
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_processes(folder: Path) -> list[dict[str, Any]]:
    """The processes that have worked on a run, oldest first.

    Raises:
        UserError: the folder is no run's, or its file is damaged.
    """
    path = folder / RUN_FACTS_NAME
    asked = f"; is {folder} the folder of a run?"
    text = read_text_file(path, "record of a run", most_bytes=_MOST_BYTES, if_missing=asked)
    try:
        processes = parse_json(text)["processes"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: can't be read ({error})") from None
    if not (isinstance(processes, list) and processes and all(isinstance(process, dict) for process in processes)):
        raise UserError(f"{path}: can't be read (it lists no processes)")
    return processes


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What has changed between two processes, a line each.

    The threads of one of several processes are no fact about the machine: their launcher sets them.
    """
    lines = []
    one_process = then.get("at_once", 1) == 1
    for name in ("commit", "uncommitted_changes", "python", "device", *(["cpu_threads"] if one_process else [])):
        if then.get(name) != now.get(name):
            lines.append(f"{name.replace('_', ' ')}: was {then.get(name)}, is now {now.get(name)}")
    packages = then.get("packages", {})
    for name, current in now["packages"].items():
        if packages.get(name) != current:
            lines.append(f"{name}: was {packages.get(name)}, is now {current}")
    return lines


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """The output of a git command in the repository; None where there is no git or no repository.

    Without optional locks: a run that is killed while git looks must not leave a lock in the user's repository.
    """
    try:
        answer = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
