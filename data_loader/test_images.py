"""Whether a loader trains on test images, however its configuration says so."""

from __future__ import annotations

from collections.abc import Collection

from data_loader.loader import ImageDataLoader
from utils.errors import Problem


def training_on_test_images(
    loader: ImageDataLoader, section: str = "data_loader", *, test_files: Collection[str] | None = None
) -> Problem | None:
    """What `train.py` refuses: all images that a loader trains on are test images; None where it trains on others.

    Args:
        loader: as it is configured.
        section: of the configuration that describes it.
        test_files: the test images' files; None: those of the loader itself.
    """
    argument = _what_says_so(loader, set(loader.splits["test"].files()) if test_files is None else test_files)
    told = "would train on the test images; train.py refuses that"
    return Problem(f"{section}.args.{argument}", told) if argument else None


def _what_says_so(loader: ImageDataLoader, test_files: Collection[str]) -> str:
    if not loader.training:
        return "training"
    images = loader.splits[loader.split]
    are_test_images = bool(len(images)) and images.reads_files and all(file in test_files for file in images.files())
    return loader.images_named_by if are_test_images else ""
