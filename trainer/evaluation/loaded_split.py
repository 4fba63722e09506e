"""A data set's test split as test distributions need it: its labels, its list files, the names of its images."""

from __future__ import annotations

import numpy as np

from data_loader.loader import ImageDataLoader, ListedImages
from trainer.evaluation.distributions import LISTED, TestSplit


def loaded_split(loader: ImageDataLoader, targets: np.ndarray, skipped: np.ndarray) -> TestSplit:
    """The images of a loader's split that can be read, as a split to select test distributions from.

    Args:
        loader: of the test split.
        targets: labels of the images that can be read, [N]; the distributions' indices are of these.
        skipped: indices in the split of those that can't.
    """
    readable = np.delete(np.arange(len(targets) + len(skipped)), skipped)

    def listed(distribution: str) -> ListedImages | None:
        match = LISTED.fullmatch(distribution)
        found = loader.listed_shift(match[1], int(match[2])) if match else None
        if found is None or not len(skipped):
            return found
        kept = found.indices[np.isin(found.indices, readable)]
        return found._replace(indices=np.searchsorted(readable, kept))

    return TestSplit(
        targets,
        loader.cls_num_list,
        listed,
        loader.shifts_are_listed,
        class_names=loader.class_names,
        names=lambda: loader.files_of(readable),
        unreadable=loader.files_of(skipped) if len(skipped) else (),
    )
