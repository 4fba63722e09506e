"""Long-tailed selection: how many images of each class, and which. Pure NumPy; one rule for every data set.

`C` classes, `N` images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SHIFT_RATIOS = (50, 25, 10, 5, 2)
_SELECTION_SEED = 0  # part of the benchmark: published numbers are on exactly these images


def longtail_counts(max_count: int, num_classes: int, *, imb_type: str, imb_factor: float) -> np.ndarray:
    """Images of each class of a long-tailed set.

    Args:
        max_count: images of the first class, n_max.
        num_classes: C.
        imb_type: "exp": ⌊n_max · f^(i/(C−1))⌋ for class i; "step": n_max for the first half of the classes and
            ⌊n_max · f⌋ for the rest; "pareto": the power law ⌊n_max · (i+1)^(−a)⌋ that ends at n_max · f, which is
            ⌊n_max · f^(ln(i+1)/ln C)⌋.
        imb_factor: f, the inverse of the imbalance ratio, in (0, 1].

    Returns:
        int64, shape [C]. (Cui et al., *Class-balanced loss*, CVPR 2019, and Buda et al., 2018, for the two types.)
    """
    if imb_type == "exp":
        last = max(num_classes - 1, 1)
        counts = [int(max_count * imb_factor ** (i / last)) for i in range(num_classes)]
    elif imb_type == "step":
        first_half = num_classes // 2
        counts = [max_count] * first_half + [int(max_count * imb_factor)] * (num_classes - first_half)
    elif imb_type == "pareto":
        log_last = math.log(max(num_classes, 2))
        counts = [int(max_count * imb_factor ** (math.log(i + 1) / log_last)) for i in range(num_classes)]
    else:
        raise ValueError(f"imb_type: {imb_type!r} is not one of exp, step, pareto")
    return np.array(counts, np.int64)


def select_per_class(targets: np.ndarray, counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Indices of `counts[i]` images of each class i: the benchmark's own choice.

    NumPy's legacy generator is seeded with 0 once; for each class in ascending order the class's indices, in file
    order, are shuffled with it and the first are kept. A class that has fewer images gives all of them.

    Args:
        targets: labels, shape [N].
        counts: wanted images of each class, length C.

    Returns:
        int64 indices into `targets`, class after class.
    """
    random = np.random.RandomState(_SELECTION_SEED)
    by_class = np.argsort(targets, kind="stable")
    starts = np.searchsorted(targets[by_class], np.arange(len(counts) + 1))
    chosen = []
    for label, count in enumerate(counts):
        indices = by_class[starts[label] : starts[label + 1]]  # in file order
        random.shuffle(indices)
        chosen.append(indices[:count])
    return np.concatenate(chosen) if chosen else np.empty(0, np.int64)


def shift_factor(ratio: float, decimals: int = 4) -> float:
    """The f of a shifted test set of imbalance ratio r: 1/r to four decimals.

    The published lists were cut with the rounded factor: with ⅓ itself iNaturalist's forward3 would hold 11,148
    images, with 0.3333 it holds its 11,147. For r = 2, 5, 10, 25, 50 the two are the same. (iNaturalist's backward3
    was cut with three decimals, 0.333: 11,137.)
    """
    return round(1 / ratio, decimals)


def longtail_shares(num_classes: int, factor: float) -> np.ndarray:
    """f^(i/(C−1)) for class i, float64 [C]: the proportions of an exponential long tail."""
    return factor ** (np.arange(num_classes) / max(num_classes - 1, 1))


def proportional_counts(sizes: np.ndarray, shares: np.ndarray, *, all_classes: bool = True) -> np.ndarray:
    """⌊M · share⌋ images of each class, M the largest number for which no class needs more than it has.

    Args:
        sizes: images that each class has, [C].
        shares: proportions wanted, ≥ 0 and not all 0, [C].
        all_classes: whether each class with a share must have an image.

    Returns:
        int64, shape [C].

    Raises:
        ValueError: a class would be without an image that must have one.
    """
    wanted = shares > 0
    bound = ((sizes[wanted] + 1) / shares[wanted]).min()  # from here on a class would need one image more than it has
    counts = np.floor(bound * (1 - 1e-9) * shares).astype(np.int64)
    if all_classes and counts[wanted].min() == 0:
        rarest = int(sizes[wanted].min())
        raise ValueError(
            f"the test images don't allow it: with {rarest} image{'s' * (rarest != 1)} of the rarest class, others "
            "would have none"
        )
    return counts


def shifted_indices(
    targets: np.ndarray, class_counts: Sequence[int] | np.ndarray, *, factor: float, backward: bool
) -> np.ndarray:
    """Images of the test split that make up a shifted test set.

    Classes are ranked by training frequency, ties by label: the most frequent keeps all it has (*forward*), the
    others ⌊n_max · f^(rank/(C−1))⌋; *backward* reverses the ranks.

    Args:
        targets: labels of the whole test split, shape [N].
        class_counts: training images of each class, length C.
        factor: f in (0, 1], see `shift_factor`.
        backward: the rarest training class becomes the most frequent.

    Returns:
        int64 indices into `targets`, class after class.
    """
    num_classes = len(class_counts)
    ranked = longtail_counts(
        int(np.bincount(targets, minlength=num_classes).max()), num_classes, imb_type="exp", imb_factor=factor
    )
    order = np.argsort(-np.asarray(class_counts), kind="stable")
    counts = np.empty(num_classes, np.int64)
    counts[order] = ranked[::-1] if backward else ranked
    return select_per_class(targets, counts)


def stratified_split(targets: np.ndarray, fraction: float, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a fraction of every class: at least one image of a class that has two, never a class's last.

    Args:
        targets: labels, shape [N].
        fraction: part to hold out, in [0, 1).
        num_classes: C.

    Returns:
        (remaining, held out): int64 indices into `targets`, each class after class. The same for every seed of a run,
        so that runs can be compared.
    """
    sizes = np.bincount(targets, minlength=num_classes)
    held_out_counts = np.minimum(np.maximum(np.rint(sizes * fraction).astype(np.int64), 1), np.maximum(sizes - 1, 0))
    held_out = select_per_class(targets, held_out_counts)
    rest = np.setdiff1d(np.arange(len(targets)), held_out)
    return rest[np.argsort(targets[rest], kind="stable")], held_out
