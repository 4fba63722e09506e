"""What has become of the images that a run knows, in one line each; an error where labels would mean others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_loader.datasets.splits import Splits
from data_loader.lists.list_files import ImageList
from data_loader.run_data import RunData
from utils.errors import UserError, nearest

_log = logging.getLogger(__name__)
_LISTED = 5


def class_differences(found: Sequence[str], known: Sequence[str]) -> str:
    """How the classes that were found differ from the run's, with what to do."""
    missing = [name for name in known if name not in found]
    new = [name for name in found if name not in known]
    parts = [f"no folder of {', '.join(missing[:_LISTED])}"] if missing else []
    parts += [f"new: {', '.join(new[:_LISTED])}{nearest(new[0], missing)}"] if new else []
    told = "; ".join(parts) or "in another order"
    return f"the class folders are not the run's ({told}); name them as they were, or start a new run"


def missing_images(missing: Sequence[str], *, evaluates: bool) -> str:
    """That some of the run's images are not there any more."""
    listed = ", ".join(missing[:_LISTED]) + ", …" * (len(missing) > _LISTED)
    needed = "test images" if evaluates else "images"
    return f"{len(missing)} of the run's {needed} are not there: {listed}; bring them back, or start a new run"


def unseen(known: RunData, images: ImageList, base: Path) -> ImageList:
    """Those of some images whose contents the run was not trained on; what is left out is told."""
    if known.kept is None or not known.kept.contents:
        _log.warning("%s: whether the run was trained on these images is not known: its `split` is missing", base)
        return images
    seen = known.kept.trained_on(images, base)
    if seen:
        text = "%s: %d of %d images are left out, which the run was trained on"
        _log.warning(text, base, len(seen), len(images))
    return images.subset(np.setdiff1d(np.arange(len(images)), seen))


def tell_changed_lists(known: RunData, found: Splits[ImageList], *, kept: bool) -> None:
    """Compare what list files say now with what the run began with.

    Args:
        known: the run's.
        found: by the list files.
        kept: the run has its own copy, and goes by that.

    Raises:
        UserError: the labels stand for the run's classes in another order.
    """
    changed = known.changed_parts(found) if not known.recut else []
    if changed:
        instead = "the run's own copy is used; a new run takes them up" if kept else "they are used as they are now"
        _log.warning("the lists for %s have changed since the run began: %s", ", ".join(changed), instead)
    if kept or found.class_names == known.class_names or set(found.class_names) != set(known.class_names):
        return
    label = next(
        i for i, (now, then) in enumerate(zip(found.class_names, known.class_names, strict=True)) if now != then
    )
    raise UserError(
        f"the lists' labels are not the run's: {label} is {found.class_names[label]} there and "
        f"{known.class_names[label]} in the run (data_loader.args.train_txt)"
    )
