"""`train.py` for one small run, called again and again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.scripts.command_line import Ended

Train = Callable[..., Ended]
"""Of the fixture `train`."""


def trained(ended: Ended) -> list[int]:
    """The epochs that a process has worked on."""
    assert ended.code == 0, ended
    return [int(line.split()[1].partition("/")[0]) for line in ended.out.splitlines() if line.startswith("epoch ")]


def runs(save_dir: str = "saved", name: str = "small") -> list[Path]:
    return sorted((Path(save_dir) / "models" / name).glob("*/"))
