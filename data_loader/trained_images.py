"""Which images a run was trained on: the same pixels, or files that hold the same, whatever they are called."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data_loader.datasets.contents import ends_of_files, file_digests, stat_files
from data_loader.datasets.file_set import FileSet
from data_loader.datasets.image_sets import ArraySet, ImageSet


def find_trained_on(tested: ImageSet, trained: ImageSet, kept: Mapping[bytes, str]) -> np.ndarray | None:
    """The images of one set that another set holds, too.

    Args:
        tested: N images.
        trained: those that were trained on.
        kept: path → SHA-256 of these in hexadecimal, as the run has kept them; without it they are read.

    Returns:
        indices into `tested`, int64, ascending; None where it can't be known: none of the files is there, or one set is
        in memory and the other in files.
    """
    if isinstance(tested, ArraySet) and isinstance(trained, ArraySet):
        return _same_pixels(tested, trained)
    if not (isinstance(tested, FileSet) and isinstance(trained, FileSet)):
        return None
    digests = {kept.get(path, "") for path in trained.paths.tolist()} - {""}
    if digests:
        return np.flatnonzero([digest in digests for digest in tested.digests])
    return same_files(tested.all_paths, trained.all_paths)


def same_files(paths: Sequence[str], others: Sequence[str]) -> np.ndarray | None:
    """Which of some files hold what one of others does; only those of the same size and the same end are read whole.

    Args:
        paths: length N.
        others: likewise; of photographs' sizes many agree, hence the ends.

    Returns:
        indices into `paths`, int64, ascending; None where none of the others is there.
    """
    sizes, other_sizes = stat_files(paths)[:, 0].tolist(), stat_files(others)[:, 0].tolist()
    there = {size for size in other_sizes if size > 0}
    if not there:
        return None
    found = [index for index, size in enumerate(sizes) if size in there]
    common = {sizes[index] for index in found}
    candidates = [path for path, size in zip(others, other_sizes, strict=True) if size in common]
    for digests_of in (ends_of_files, file_digests):
        found, candidates = _agreeing(found, paths, candidates, digests_of)
    return np.array(found, np.int64)


def _agreeing(
    found: Sequence[int],
    paths: Sequence[str],
    candidates: Sequence[str],
    digests_of: Callable[[Sequence[str]], Sequence[str]],
) -> tuple[list[int], list[str]]:
    """Those of the indices `found` into `paths`, and of the candidates, that have a digest in common."""
    mine, theirs = digests_of([paths[index] for index in found]), digests_of(candidates)
    common = set(mine) & set(theirs) - {""}
    return (
        [index for index, digest in zip(found, mine, strict=True) if digest in common],
        [path for path, digest in zip(candidates, theirs, strict=True) if digest in common],
    )


def _same_pixels(tested: ArraySet, trained: ArraySet) -> np.ndarray:
    if tested.images.shape[1:] != trained.images.shape[1:]:
        return np.empty(0, np.int64)
    known = set(_pixel_digests(trained))
    return np.flatnonzero([digest in known for digest in _pixel_digests(tested)])


def _pixel_digests(images: ArraySet) -> list[bytes]:
    rows = np.ascontiguousarray(images.images.numpy()).reshape(len(images), -1)
    return [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows]
