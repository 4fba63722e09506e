"""Folders as runs leave them, of hand-made numbers: nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.trainer.small_runs import small_config

TARGETS = np.zeros(8, dtype=np.int64)


def make_run(
    folder: Path,
    seed: int,
    rows: Sequence[Mapping[str, Any]],
    *,
    commit: str = "c" * 40,
    epoch: int = 2,
    right: Sequence[int] | None = None,
    **changes: Any,
) -> Path:
    """A run with these results, and kept predictions of two classes that are right in these places of `TARGETS`."""
    folder.mkdir(parents=True)
    config = small_config(seed=seed, trainer__save_dir=str(folder.parent), **changes)
    process = {"seed": seed, "commit": commit, "started": f"2026-01-0{seed}T10:00:00+00:00"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "run.json").write_text(json.dumps({"processes": [process]}))
    (folder / f"checkpoint-epoch{epoch}.pth").write_bytes(b"not read")
    question = {"checkpoint": f"checkpoint-epoch{epoch}.pth", "data": "digits 1", "protocol": "test", "weights": "raw"}
    question |= {"prior": "none", "calibration": "none", "distribution": "uniform", "predictor": "ensemble"}
    (folder / "results.json").write_text(json.dumps({"results": [{**question, **row} for row in rows]}))
    if right is not None:
        logits = np.zeros((len(TARGETS), 1, 2), dtype=np.float32)
        logits[:, 0, 1] = [-1 if place in right else 1 for place in range(len(TARGETS))]
        arrays = {"weights": ["raw"], "logits_raw": logits, "targets": TARGETS, "skipped": np.zeros(0, dtype=np.int64)}
        np.savez(folder / f"checkpoint-epoch{epoch}.predictions.npz", **arrays)
    return folder
