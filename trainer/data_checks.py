"""What about a run's data makes its training impossible, or its scores unsure: said before the first step."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from base.batch_shards import shard_of
from data_loader.class_remarks import class_remarks
from data_loader.loader import ImageDataLoader
from model.intervals import wilson_interval
from model.storage_free import without_storage
from trainer.build import bare_network
from trainer.config.run_config import RunConfig

_SHARES = ("val_accuracy", "val_averaged_accuracy", "val_top_k_acc", "val_averaged_top_k_acc")
_SURE = 0.1  # width of an interval that needs no word: some 400 images


def require_images(config: RunConfig, loader: ImageDataLoader) -> None:
    """Refuse to train on no images, and to validate on none.

    Raises:
        ConfigError: which key of the configuration asks for it.
    """
    fail = config.data_loader.origins.fail
    if not len(loader.targets):
        fail("data_loader.args", "there are no training images")
    if config.trainer.validate and not len(loader.splits["validation"].targets):
        fail(
            "trainer.validate",
            "there are no validation images (a class keeps its last image for training); add some, or set it to false",
        )


def find_data_warnings(loader: ImageDataLoader, *, validates: bool) -> list[str]:
    """What about the images is to be known before a training that they do not forbid."""
    warnings = class_remarks(loader)
    num_validated = len(loader.splits["validation"].targets)
    low, high = wilson_interval(0.5, max(num_validated, 1))
    if validates and high - low > _SURE:
        warnings.append(
            f"the best epoch is chosen by {num_validated} validation images: an accuracy is then known to "
            f"±{50 * (high - low):.0f} points (95 %)"
        )
    return warnings


def how_sure(monitored: str, log: Mapping[str, float] | None, num_validated: int) -> str:
    """What is known of the best epoch, in a few words: the interval of the monitored accuracy, else of the plain one.

    Args:
        monitored: name of the quantity that it is the best by.
        log: what that epoch logged; None: there is no best epoch.
        num_validated: validation images.
    """
    plain = "val_averaged_accuracy" if monitored.startswith("val_averaged_") else "val_accuracy"
    name = monitored if monitored in _SHARES else plain
    share = (log or {}).get(name, math.nan)
    if not (0 <= share <= 1 and num_validated):  # nan, or of another make
        return ""
    low, high = wilson_interval(share, num_validated)
    return f", {name} {share:.3f} of {num_validated} images, 95 % within {low:.3f} … {high:.3f}"


def require_normalisable_batches(config: RunConfig, loader: ImageDataLoader, *, processes: int, parts: int) -> None:
    """Refuse batches that BatchNorm can't take a variance of: one image, of a single pixel at some depth.

    Args:
        config: of the run.
        loader: of the training images.
        processes: that share a batch.
        parts: micro-batches that each of them takes its share in.

    Raises:
        ConfigError: with the key to change.
    """
    batch, left_over = loader.batch_size, loader.num_images % loader.batch_size
    sizes = {size for size in (min(batch, loader.num_images), left_over) if size}
    single = [size for size in sizes if _smallest_part(size, processes, parts) == 1]
    if not single or _normalises_single_images(config, loader):
        return
    cut = f" over {processes} processes" * (processes > 1) + f" in {parts} micro-batches" * (parts > 1)
    config.data_loader.origins.fail(
        "data_loader.args.batch_size",
        f"with {batch} a batch of {min(single)}{cut} leaves BatchNorm a single image of one pixel, which has no "
        f"variance; choose another size (there are {loader.num_images} images an epoch)",
    )


def _smallest_part(batch: int, processes: int, parts: int) -> int:
    shards = (shard_of(batch, rank, processes) for rank in range(processes))
    return min(len(part) for shard in shards for part in shard.split(parts))


def _normalises_single_images(config: RunConfig, loader: ImageDataLoader) -> bool:
    """Whether the network trains on one image; tried without memory."""
    with without_storage():
        network = bare_network(config)
        image = torch.zeros(1, 3, loader.image_side, loader.image_side)
    try:
        network.train()(image)
    except ValueError:
        return False
    return True
