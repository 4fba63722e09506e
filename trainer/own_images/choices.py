"""A configuration for somebody's own images: every choice that depends on them, or may be questioned, with its reason.

The sizes are those that finish some hundred images within minutes on two cores of a CPU; the rest is the published
method (arXiv 2206.05260) as the recipes of `configs/` have it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from trainer.own_images.network import SMALL, ChosenNetwork

_FEW_VALIDATED = 100  # images: below, an accuracy moves in steps of more than a point
_MANY = 5000  # training images
_LARGE = 4  # times the network's side: from there on libjpeg can decode the largest crops at half of their size
_PRESENTED = 8000  # images, over all epochs, that a small set is shown
_FEWEST_EPOCHS, _MOST_EPOCHS = 20, 100
_PRESENTED_PRETRAINED, _FEWEST_EPOCHS_PRETRAINED = 2000, 10  # fine-tuning takes a third of the time


class Choice(NamedTuple):
    """A key of the configuration, its value, and why; without a reason it is left unexplained."""

    path: str
    value: Any
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What the choices depend on.

    Args:
        folder: of the images.
        class_counts: training images of each class, length C.
        validated: validation images.
        side: pixels of the shorter side of an image, the median.
        has_gpu: whether there is a GPU to train on.
        given: path → value of what the flags set.
        network: the one to be trained.
    """

    folder: str
    class_counts: Sequence[int]
    validated: int
    side: int
    has_gpu: bool
    given: Mapping[str, Any]
    network: ChosenNetwork


def reading(folder: str, *, validation_split: bool) -> list[Choice]:
    """How a folder is read: known before its images are looked at.

    Args:
        folder: of the images.
        validation_split: images to validate on are to be held out from those for training.
    """
    place = "data_loader.args"
    held_out = Choice(
        f"{place}.validation_split", 0.1, "part of each training class to choose the epoch by, instead of the test"
    )
    return [
        *([held_out] if validation_split else []),
        Choice("data_loader.type", "ImageFolderDataLoader"),
        Choice(f"{place}.data_dir", folder),
        Choice(f"{place}.on_bad_image", "skip", "an image that can't be read is left out; error: it ends the run"),
        Choice(
            f"{place}.copies_in_training",
            True,
            "copies of one image in training and test at once would make the test easier than it is: all are in "
            "training",
        ),
    ]


def choices(at: Circumstances, read: Sequence[Choice]) -> list[Choice]:
    """All choices, in the configuration's order; `read` are those of `reading`."""
    named = [Choice("name", _run_name(at.folder)), Choice("n_gpu", 1)]
    return [*named, *_network(at), *_first_weights(at), *read, *_images(at), *_training(at)]


def nested(chosen: Sequence[Choice]) -> tuple[dict[str, Any], dict[str, str]]:
    """The configuration, and path → reason."""
    config: dict[str, Any] = {}
    for choice in chosen:
        *parents, last = choice.path.split(".")
        section = config
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = choice.value
    return config, {choice.path: choice.reason for choice in chosen if choice.reason}


def _run_name(folder: str) -> str:
    """The folder's own name, of letters that any file system takes."""
    return re.sub(r"[^\w-]+", "_", Path(folder).resolve().name).strip("_") or "own_images"


def _network(at: Circumstances) -> list[Choice]:
    narrow = Choice("arch.args.reduce_dimension", True, "for a CPU: three quarters of the width, in 0.6 of the time")
    return [
        Choice("arch.type", at.network.architecture, at.network.reason),
        Choice("arch.args.num_classes", len(at.class_counts), "the folders"),
        Choice(
            "arch.args.num_experts",
            3,
            "one leans towards frequent classes, one towards rare ones, one is between; their mean is fair to all",
        ),
        Choice("arch.args.use_norm", True, "a cosine classifier: no class wins by the length of its weights"),
        Choice("arch.args.returns_feat", True),
        *([narrow] if at.network.architecture == SMALL and not at.has_gpu else []),
    ]


def _first_weights(at: Circumstances) -> list[Choice]:
    if at.network.source is None:
        return []
    why = "weights trained on other images to start from; every expert begins with them, classifiers are new"
    return [Choice("initialise.checkpoint", at.network.source, why)]


def _images(at: Circumstances) -> list[Choice]:
    place, pretrained = "data_loader.args", at.network.source is not None
    side, why = (128, "a GPU is at hand") if at.has_gpu else (64, "for a CPU")
    if pretrained:  # such weights know larger images
        side = 224 if at.has_gpu else 96
    if at.side < side:
        side, why = max(at.side, 32), "no larger than the images are"
    many = sum(at.class_counts) >= _MANY
    reduced = Choice(f"{place}.reduced_decoding", True, "large JPEGs are decoded no larger than their crops need")
    return [
        Choice(f"{place}.image_size", side, f"pixels; {why}. Larger shows more detail, and takes longer by its square"),
        Choice(
            f"{place}.batch_size", 128 if many else 32, "many images" if many else "few images: more steps an epoch"
        ),
        Choice(
            f"{place}.num_workers",
            8 if many else 0,
            "" if many else "so few images are read sooner than processes for it have started",
        ),
        *([reduced] if at.side >= _LARGE * side and f"{place}.cache" not in at.given else []),
    ]


def _training(at: Circumstances) -> list[Choice]:
    total = sum(at.class_counts)
    shown = at.given.get("trainer.epochs")
    presented, fewest = _PRESENTED, _FEWEST_EPOCHS
    lr, why = (0.1 if total >= _MANY else 0.025), "usual for this batch"
    if at.network.source is not None:
        presented, fewest = _PRESENTED_PRETRAINED, _FEWEST_EPOCHS_PRETRAINED
        lr, why = lr * 0.4, "lower than for new weights, which have nothing to lose"
    usual = min(max(round(presented / total), fewest), _MOST_EPOCHS)
    epochs = shown if isinstance(shown, int) and shown > 0 else usual
    return [
        Choice("optimizer.type", "SGD"),
        Choice("optimizer.args.lr", lr, why),
        Choice("optimizer.args.momentum", 0.9),
        Choice("optimizer.args.weight_decay", 5e-4),
        Choice("optimizer.args.nesterov", True),
        Choice("loss.type", "BSExpertLoss"),
        Choice("loss.args.tau_list", "limits"),
        Choice("loss.tau_min", 0, "the expert with τ = 0 learns the classes as frequent as they are"),
        Choice("loss.tau_max", 2, "τ = 2 leans towards the rare ones; the mean τ of 1 is right for equal frequencies"),
        Choice("metrics", ["accuracy"]),
        Choice("lr_scheduler.type", "CosineAnnealingLR"),
        Choice("lr_scheduler.args.T_max", epochs, "as long as the training: the rate ends at 0"),
        Choice("lr_scheduler.args.eta_min", 0),
        Choice(
            "trainer.epochs", epochs, f"{total:,} training images, each shown so often; longer where it still improves"
        ),
        Choice("trainer.save_dir", "saved"),
        Choice("trainer.save_period", epochs, "one checkpoint at the end, and the best"),
        Choice("trainer.verbosity", 1),
        *_validation(at, epochs),
        Choice("combiner.mode", "mixup", "images are mixed in pairs: confidence stays nearer to accuracy"),
        Choice("combiner.mixup.alpha", 0.3, "mild, for small networks"),
    ]


def _validation(at: Circumstances, epochs: int) -> list[Choice]:
    if not at.validated:
        return [Choice("trainer.validate", False, "no class has an image to spare for it; the last epoch is taken")]
    if at.validated < _FEW_VALIDATED:
        by, why = "min val_loss", f"accuracy moves in steps of {100 / at.validated:.0f} points with so few images"
    else:
        by, why = "max val_balanced_accuracy", "every class counts equally"
    return [
        Choice("trainer.validate", True, f"the epoch is chosen by {at.validated:,} held-out images, never by the test"),
        Choice("trainer.monitor", by, why),
        Choice("trainer.early_stop", max(epochs // 3, 10), "epochs without improvement, after which it ends"),
    ]
