"""`train.py --seed 1 2`: real runs, one after the other, each of which is the single run of its seed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.scripts.command_line import Shell
from tests.trainer.small_runs import run, same_weights, small_config
from utils.files.checkpoint import load_checkpoint


def test_each_of_several_runs_is_the_single_run_of_its_seed(tmp_path: Path, shell: Shell) -> None:
    config = small_config(
        trainer__epochs=1, trainer__save_dir=str(tmp_path / "saved"), data_loader__args__max_per_class=6
    )
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(config))
    ended = shell("train.py", "-c", recipe, "--seed", 1, 2)
    assert (ended.code, ended.err) == (0, "")
    files = sorted((tmp_path / "saved" / "models" / "small").glob("2*/checkpoint-epoch1.pth"))
    found = {content["config"]["seed"]: content for content in map(load_checkpoint, files)}
    assert found.keys() == {1, 2}
    assert same_weights(found[2], run(tmp_path / "alone", {**config, "seed": 2}))
    assert not same_weights(found[1], found[2])
