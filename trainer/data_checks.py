"""What about a run's data makes its training impossible: said before the first step, in a line."""

from __future__ import annotations

import torch

from base.batch_shards import shard_of
from data_loader.loader import ImageDataLoader
from trainer.build import bare_network
from trainer.config.run_config import RunConfig


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
    with torch.device("meta"):
        network = bare_network(config)
        image = torch.zeros(1, 3, loader.image_side, loader.image_side)
    try:
        network.train()(image)
    except ValueError:
        return False
    return True
