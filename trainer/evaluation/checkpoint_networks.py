"""The networks that a checkpoint holds, each run over a split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from base import View
from data_loader.loader import ImageDataLoader
from trainer.build import build_model
from trainer.config.components import method_classes
from trainer.config.run_config import RunConfig
from trainer.evaluation.predictions import Predictions, predict
from trainer.evaluation.results import RAW
from trainer.weights import load_weights
from utils.distributed.context import DistributedContext
from utils.files.checkpoint_schema import NETWORK


def weights_in(content: Mapping[str, Any], names: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """A checkpoint's networks as state dicts by name: "raw", and each of `names` of which it has a NAME_state_dict.

    What else ends so (others keep an optimizer_state_dict) is no network.
    """
    further = {name: content[name + NETWORK] for name in names if name + NETWORK in content}
    return {RAW: content["state_dict"], **further}


def run_networks(
    config: RunConfig,
    content: Mapping[str, Any],
    checkpoint: Path,
    split: ImageDataLoader,
    device: torch.device,
    *,
    distributed: DistributedContext,
    view: View = "test",
    epoch: int = 0,
) -> Predictions | None:
    """The predictions of each of a checkpoint's networks, in rank 0; None in the others.

    Args:
        config: of the network, and of the method, which says what networks there may be.
        content: the checkpoint's.
        checkpoint: its file, for messages.
        split: the loader of the images.
        device: where the networks run.
        distributed: the processes that share the work.
        view: see `trainer.evaluation.predictions.predict`.
        epoch: likewise.
    """
    network, logits = build_model(config, device), {}
    names = dict.fromkeys(name for kind in method_classes(config.method) for name in kind.weights)
    for name, state in weights_in(content, names).items():
        load_weights(network, state, checkpoint)
        predicted = predict(network, split, device, distributed=distributed, view=view, epoch=epoch)
        if predicted is not None:
            logits[name] = predicted.logits
    return None if predicted is None else Predictions(logits, predicted.targets, predicted.skipped)
