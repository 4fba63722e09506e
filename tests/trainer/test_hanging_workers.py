"""A signal is obeyed while the run waits for a loader process that hangs, long before `worker_timeout` is over."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.crash_campaign import differences
from tests.trainer.small_runs import run, small_config, small_trainer
from utils.signals import RunStopped

pytestmark = [
    pytest.mark.usefixtures("_quick"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_run_that_waits_for_a_hanging_worker_obeys_a_signal(tmp_path: Path, split: str) -> None:
    config = small_config(trainer__validate=True, data_loader__args__num_workers=1, data_loader__args__randaugm=True)
    undisturbed = run(tmp_path / "undisturbed", config)
    trainer = small_trainer(tmp_path / "run", config)
    loader = trainer.loaders["train"] if split == "train" else trainer.validation_loader
    images, parent = loader.images, os.getpid()
    read = images.read

    def hanging(sample_ids: np.ndarray) -> torch.Tensor:
        if 40 in sample_ids[:, 1]:  # an image of a later batch
            if os.getpid() == parent:  # the validation split is read here, the training split by a worker
                threading.Timer(0.2, os.kill, (parent, signal.SIGTERM)).start()
            else:
                (tmp_path / "hangs").touch()
            threading.Event().wait(60)
        return read(sample_ids)

    def stop_once_it_hangs() -> None:
        while not (tmp_path / "hangs").exists():
            time.sleep(0.05)
        time.sleep(1.0)  # the batches before it are trained on, and it is waited for
        os.kill(parent, signal.SIGTERM)

    images.read = hanging  # type: ignore[method-assign]
    stopper = threading.Thread(target=stop_once_it_hangs, daemon=True)
    if split == "train":
        stopper.start()
    with pytest.raises(RunStopped, match="stopped by SIGTERM; continue with"):
        trainer.train()
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*.pth")
    assert differences(run(tmp_path / "run", config, resume=checkpoint), undisturbed) == []
