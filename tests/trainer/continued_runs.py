"""Runs that were begun in one way and go on in another, and the next update that they make."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sklearn.datasets
import torch
from torch import Tensor

import trainer.build
from tests.trainer import small_runs
from tests.trainer.small_runs import make_quick, small_trainer
from tests.trainer.stopped_runs import stop_at
from trainer.trainer import Trainer
from utils.files.checkpoint import load_checkpoint, save_checkpoint
from utils.reporting.tensorboard import SilentRecorder
from utils.signals import RunStopped

DONE, EPOCHS = 3, 4  # epochs of a checkpoint, and of its run

BEGUN: dict[str, Any] = {
    "name": "begun",
    "n_gpu": 0,
    "arch": {
        "type": "ResNet32Model_B",
        "args": {"num_classes": 10, "num_experts": 2, "use_norm": True, "returns_feat": True},
    },
    "data_loader": {
        "type": "ImbalanceDigitsDataLoader",
        "args": {"batch_size": 78, "num_workers": 0, "imb_factor": 0.1, "max_per_class": 20},
    },
    "optimizer": {"type": "SGD", "args": {"lr": 0.05, "momentum": 0.9}},
    "loss": {"type": "BSExpertLoss", "args": {"tau_list": [0, 2]}},
    "lr_scheduler": {"type": "ConstantLR", "args": {"factor": 1.0}},
    "trainer": {"epochs": EPOCHS, "save_dir": "unused", "verbosity": 0},
    "combiner": {"mode": "mixup", "mixup": {"alpha": 0.4}},
    "seed": 1,
}
"""78 images of ten classes in one step an epoch."""

HISTORY = {"val_loss": (10.0, 9.0, 8.5), "val_balanced_accuracy": (0.1, 0.5, 0.9)}
"""What the runs that validate are said to have recorded."""


def tiny_networks(patch: pytest.MonkeyPatch) -> None:
    """One block of eight channels a stage; nothing is recorded, and digits and checkpoints are read once."""
    make_quick(patch)
    patch.setattr(sklearn.datasets, "load_digits", functools.cache(sklearn.datasets.load_digits))
    patch.setattr(trainer.build, "Recorder", lambda *_, **__: SilentRecorder())
    patch.setattr(small_runs, "load_checkpoint", read_once)


def read_once(checkpoint: Path) -> dict[str, Any]:
    """What is in a checkpoint, for the caller alone; PyTorch reads a file once, for that takes as long as a step."""
    return copy.deepcopy(_content(checkpoint, checkpoint.stat().st_mtime_ns))


@functools.cache
def _content(checkpoint: Path, modified: int) -> dict[str, Any]:
    return load_checkpoint(checkpoint)


@dataclass(frozen=True)
class Update:
    """The next update of a run.

    Attributes:
        before: the weights.
        gradients: at them.
        options: of the optimiser, as they were when it was made.
        after: the weights, one update on.
        networks: everything that the next checkpoint holds of networks: name → tensor.
    """

    before: list[Tensor]
    gradients: list[Tensor]
    options: dict[str, Any]
    after: list[Tensor]
    networks: dict[str, Tensor]


def next_update(run: Trainer) -> Update:
    """Train the next epoch."""
    weights = [weight for group in run.optimizer.param_groups for weight in group["params"]]
    gradients: list[Tensor] = []
    options: list[dict[str, Any]] = []
    after: list[Tensor] = []

    def look_before(*_: object) -> None:
        if not options:
            gradients.extend(torch.zeros_like(one) if one.grad is None else one.grad.clone() for one in weights)
            options.append({name: value for name, value in run.optimizer.param_groups[0].items() if name != "params"})

    def look_after(*_: object) -> None:
        if not after:
            after.extend(weight.detach().clone() for weight in weights)

    run.optimizer.register_step_pre_hook(look_before)
    run.optimizer.register_step_post_hook(look_after)
    before = [weight.detach().clone() for weight in weights]
    run.train_steps(run.state.epoch + 1)
    networks = {
        f"{name} {entry}": value.clone()
        for name, network in run.method.networks().items()
        for entry, value in network.state_dict().items()
    }
    return Update(before, gradients, options[0], after, networks)


class BegunRuns:
    """Short runs, one for each configuration that was asked for, and how they go on as they are.

    Args:
        folder: for what they write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checkpoints: dict[str, Path] = {}
        self._updates: dict[str, Update] = {}
        self._stopped: dict[str, Path] = {}

    def checkpoint(self, config: Mapping[str, Any]) -> Path:
        """The checkpoint of a run of `DONE` epochs out of its `EPOCHS`."""
        name = json.dumps(config, sort_keys=True)
        if name not in self._checkpoints:
            folder = self.folder / str(len(self._checkpoints))
            run = small_trainer(folder, config)
            run.options = replace(run.options, epochs=DONE)
            run.train()
            path = folder / f"checkpoint-epoch{DONE}.pth"
            content = load_checkpoint(path)
            for epoch, line in enumerate(content["progress"]["history"]):
                line |= {name: values[epoch] for name, values in HISTORY.items()}
            save_checkpoint(path, content)
            self._checkpoints[name] = path
        return self._checkpoints[name]

    def checkpoint_within(self, config: Mapping[str, Any]) -> Path:
        """The checkpoint of a run that was stopped after the first step."""
        name = json.dumps(config, sort_keys=True)
        if name not in self._stopped:
            # a folder of its own: a run keeps its split in it
            run = small_trainer(self.folder / f"within {len(self._stopped)}", config)
            stop_at(run, {(0, 1, 0)})
            with pytest.raises(RunStopped):
                run.train()
            (self._stopped[name],) = run.folder.checkpoints()
        return self._stopped[name]

    def as_it_is(self, config: Mapping[str, Any]) -> Update:
        """The next update where nothing is changed."""
        name = json.dumps(config, sort_keys=True)
        if name not in self._updates:
            run = small_trainer(self.folder / "as it is", config, resume=self.checkpoint(config))
            self._updates[name] = next_update(run)
        return self._updates[name]


def from_the_start(folder: Path, config: Mapping[str, Any], checkpoint: Path, *, weights_alone: bool) -> Trainer:
    """A run that was built of the new configuration, and has learnt what the checkpoint has."""
    content = read_once(checkpoint)
    run = small_trainer(folder, config)
    run.method.network.load_state_dict(content["state_dict"])
    if weights_alone:
        return run
    run.optimizer.load_state_dict(
        {"state": content["optimizer"]["state"], "param_groups": run.optimizer.state_dict()["param_groups"]}
    )
    for name, part in run.method.checkpoint_parts().items():
        if name not in ("state_dict", "criterion"):
            part.load_state_dict(content[name])
    run.state.epoch = DONE
    return run
