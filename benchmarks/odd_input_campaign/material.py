"""What the cases start from: a tiny recipe on digits, and runs of it that were really trained."""

from __future__ import annotations

import json
import os
import shutil
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

from benchmarks.odd_input_campaign.commands import ROOT, run

CLASSES = 10
RUNS = {"plain": {}, "averaged": {"method": {"type": "EMA", "args": {"decay": 0.9}}}}
"""Name → what its recipe has besides."""


def tiny_recipe() -> dict[str, Any]:
    """BalPoE on a few digits: two experts, two steps an epoch, two epochs."""
    recipe = json.loads((ROOT / "configs/digits/config_digits_ir40_bs-experts.json").read_text(encoding="utf8"))
    recipe["name"] = "tiny"
    recipe["arch"]["args"] |= {"num_experts": 2, "layer2_output_dim": 16, "layer3_output_dim": 16}
    recipe["data_loader"]["args"] |= {"batch_size": 16, "imb_factor": 0.5, "max_per_class": 4}
    recipe["lr_scheduler"]["args"] |= {"step1": 1, "step2": 2, "warmup_epoch": 0}
    recipe["trainer"] |= {"epochs": 2, "save_dir": "runs", "save_period": 1, "verbosity": 1}
    return recipe


def train_runs(folder: Path) -> None:
    """Train the runs that checkpoints are taken from: `folder/NAME/` is a run's folder, with predictions of it."""
    for name, more in RUNS.items():
        place = folder / f"{name}.work"
        place.mkdir(parents=True)
        (place / "recipe.json").write_text(json.dumps({**tiny_recipe(), **deepcopy(more)}))
        _in_a_process(place, "train", ["-c", "recipe.json", "--val"])
        (run_folder,) = (place / "runs/models/tiny").iterdir()
        _in_a_process(place, "test", ["-r", str(run_folder / "checkpoint-epoch1.pth"), "--no-report"])
        shutil.copytree(run_folder, folder / name)
        shutil.rmtree(place)


def _in_a_process(place: Path, command: str, flags: list[str]) -> None:
    process = os.fork()
    if not process:
        os.chdir(place)
        sys.stdout = (place / "output").open("w")
        code = 1
        try:
            run(command, flags)
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(code)
    if os.waitpid(process, 0)[1]:
        raise SystemExit(f"the material could not be made: {command} {' '.join(flags)} in {place}")
