"""Runs so small that a test can afford a few: scikit-learn's digits and a narrow network of two experts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import model.model as networks
from base import RunFolder
from data_loader.data_loaders import digits
from trainer.build import build_trainer
from trainer.config.run_config import run_config
from trainer.loaders import build_loaders, known_images
from trainer.trainer import Trainer
from utils.config.parser import ConfigParser
from utils.distributed.context import DistributedContext
from utils.files.checkpoint import load_checkpoint

if TYPE_CHECKING:
    import pytest  # a process of a run's own does without it

CPU = torch.device("cpu")

_SMALL: dict[str, Any] = {
    "name": "small",
    "n_gpu": 0,
    "arch": {
        "type": "ResNet32Model",
        "args": {
            "num_classes": 10,
            "num_experts": 2,
            "use_norm": True,
            "returns_feat": True,
            "layer2_output_dim": 16,
            "layer3_output_dim": 16,
            "share_layer2": True,
        },
    },
    "data_loader": {
        "type": "ImbalanceDigitsDataLoader",
        "args": {"batch_size": 32, "num_workers": 0, "imb_factor": 0.1, "max_per_class": 20},
    },
    "optimizer": {"type": "SGD", "args": {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}},
    "loss": {"type": "BSExpertLoss", "args": {"tau_list": [0, 2]}},
    "metrics": ["accuracy"],
    "lr_scheduler": {"type": "CustomLR", "args": {"step1": 1, "step2": 2, "gamma": 0.1, "warmup_epoch": 0}},
    "trainer": {"epochs": 2, "save_dir": "unused", "save_period": 1, "verbosity": 0, "monitor": "off", "report": False},
    "combiner": {"type": "Combiner", "mode": "mixup", "mixup": {"alpha": 0.4}},
}


TINY: dict[str, Any] = {
    "arch__args__layer2_output_dim": 8,
    "arch__args__layer3_output_dim": 8,
    "data_loader__args__max_per_class": 6,
    "data_loader__args__batch_size": 8,
}
"""Changes for fp16, whose convolutions have no fast gradient on CPUs: 20 images, batches of 8, 8 and 4."""


def make_quick(patch: pytest.MonkeyPatch | None = None) -> None:
    """From now on the small networks have one block of eight channels a stage, and ten digits of a class are tested.

    For what is about neither.

    Args:
        patch: takes it back; None: nobody does, in a process of its own.
    """
    changes: list[tuple[Any, str, Any]] = [(digits, "_TEST_IMAGES", 10)]
    for kind in (networks.ResNet32Model, networks.ResNet32Model_B, networks.ResNet10Model):
        stages = len(kind.architecture.blocks)
        widths, reduced = (8,) * stages, (8, *(4,) * (stages - 1))
        shallow = replace(kind.architecture, blocks=(1,) * stages, widths=widths, reduced_widths=reduced)
        changes.append((kind, "architecture", shallow))
    for place, name, value in changes:
        if patch is None:
            setattr(place, name, value)
        else:
            patch.setattr(place, name, value)


def draw_nothing(patch: pytest.MonkeyPatch | None = None) -> None:
    """From now on no run draws its confusion matrix, which takes longer than a small epoch; `patch` as above."""
    if patch is None:
        Trainer._confusion = lambda _: None  # type: ignore[method-assign]
    else:
        patch.setattr(Trainer, "_confusion", lambda _: None)


def small_config(**changes: Any) -> dict[str, Any]:
    """The small run's configuration; `optimizer__args__lr=0` changes the key optimizer.args.lr."""
    return with_changes(_SMALL, changes, separator="__")


def with_changes(config: Mapping[str, Any], changes: Mapping[str, Any], *, separator: str = ".") -> dict[str, Any]:
    """A copy of a configuration with other values; `changes` maps a path such as optimizer.args.lr to its value."""
    changed = copy.deepcopy(dict(config))
    for path, value in changes.items():
        *parents, last = path.split(separator)
        section = changed
        for name in parents:
            section = section.setdefault(name, {})
        section[last] = value
    return changed


def small_trainer(
    folder: Path,
    config: Mapping[str, Any],
    *,
    resume: Path | None = None,
    distributed: DistributedContext | None = None,
) -> Trainer:
    """A trainer that writes into `folder`, which is made; `resume` is a checkpoint to continue from."""
    folder.mkdir(parents=True, exist_ok=True)
    parser = ConfigParser(config, source="a test", resume=resume)
    typed = run_config(parser)
    resumed = load_checkpoint(resume) if resume else None
    own_folder = folder if resume is not None and resume.parent == folder else None
    loaders = build_loaders(typed, known=known_images(parser, typed, own_folder, resumed))
    if distributed is None or distributed.is_main:
        parser.write(folder)
        loaders["train"].freeze(folder)
    return build_trainer(
        typed,
        parser=parser,
        loaders=loaders,
        device=CPU,
        folder=RunFolder(folder),
        resumed=resumed,
        distributed=distributed,
    )


def run(folder: Path, config: Mapping[str, Any], *, resume: Path | None = None) -> dict[str, Any]:
    """Train to the end; returns the content of the last epoch's checkpoint."""
    trainer = small_trainer(folder, config, resume=resume)
    trainer.train()
    return load_checkpoint(folder / f"checkpoint-epoch{config['trainer']['epochs']}.pth")


def same_weights(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two checkpoints hold the same names with the same bits."""
    ours, theirs = first["state_dict"], second["state_dict"]
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
