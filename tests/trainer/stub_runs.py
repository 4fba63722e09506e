"""In place of train.py: reads the configuration and the flags, and leaves what a run leaves, without training any.

What a run does is decided by its seed: see `main`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType


def run_folder(runs: Path, config: object) -> Path:
    """As `-r auto` finds it."""
    for path in sorted(runs.glob("2*/config.json")):
        if json.loads(path.read_text()) == config:
            return path.parent
    folder = runs / f"20260101_000000_{os.getpid()}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def main() -> None:
    """Seeds: 13 fails, 14 is killed, 15 waits to be stopped unless it was before, 16 and 17 wait for one another."""
    flags = sys.argv[1:]
    assert (flags[0], flags[2:4]) == ("-c", ["-r", "auto"])
    config = json.loads(Path(flags[1]).read_text())
    runs = Path(config["trainer"]["save_dir"]) / "models" / config["name"]
    seed = config["seed"]
    with (runs / "started.txt").open("a") as file:
        file.write(f"{seed} {config['optimizer']['args']['lr']} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')}\n")
    recipe = runs / "recipe_to_spoil.txt"
    if recipe.exists():
        Path(recipe.read_text()).write_text("spoilt")
    folder = run_folder(runs, config)
    if seed == 13:
        sys.exit("error: the loss is nan")
    if seed == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == 15 and not (folder / "checkpoint-epoch1.pth").exists():

        def end(number: int, frame: FrameType | None) -> None:
            (folder / "checkpoint-epoch1.pth").touch()
            sys.exit(128 + number)

        signal.signal(signal.SIGTERM, end)
        waiting = runs / "waiting.part"
        waiting.write_text(str(os.getppid()))
        waiting.rename(runs / "waiting.txt")
        time.sleep(60)
    if seed in (16, 17):
        (runs / f"{seed}.txt").touch()
        while not (runs / f"{33 - seed}.txt").exists():
            time.sleep(0.01)
    print(f"epoch {config['trainer']['epochs']}/{config['trainer']['epochs']}  loss 1", flush=True)
    (folder / f"checkpoint-epoch{config['trainer']['epochs']}.pth").touch()


if __name__ == "__main__":
    main()
