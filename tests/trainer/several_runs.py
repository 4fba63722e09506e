"""`train.py` for several runs whose processes train nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scripts.command_line import Ended, Shell
from tests.trainer.small_runs import small_config
from trainer.many_runs import command


class Several:
    """Calls it with a recipe of its own. For what each seed does see `tests.trainer.stub_runs`."""

    def __init__(self, folder: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._shell, self._monkeypatch = folder, shell, monkeypatch
        self.runs = folder / "saved" / "models" / "small"
        self.recipe = folder / "recipe.json"
        self.recipe.write_text(json.dumps(small_config(n_gpu=1)))

    def __call__(self, *flags: object) -> Ended:
        return self._shell("train.py", "-c", self.recipe, "--save_dir", self.folder / "saved", *flags)

    def started(self) -> list[str]:
        """Seed, learning rate and GPUs of each process, in the order of their beginnings."""
        return (self.runs / "started.txt").read_text().splitlines()

    def has_gpus(self, *names: str) -> None:
        self._monkeypatch.setattr(command, "visible_gpus", lambda: list(names))

    def once_one_waits(self, act: Callable[[int], None]) -> threading.Thread:
        """Call `act` with the parent of the run that waits to be stopped, as soon as there is one."""

        def wait() -> None:
            while not (self.runs / "waiting.txt").exists():
                time.sleep(0.01)
            act(int((self.runs / "waiting.txt").read_text()))

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread
