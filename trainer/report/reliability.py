"""How far confidence can be relied on: for all test images, for groups of classes, for shifted test distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.calibration import ReliabilityBins, reliability_bins
from trainer.evaluation.distributions import LISTED, Distribution, TestSplit, select
from trainer.evaluation.loaded_split import loaded_split
from trainer.report.data import RunClasses
from trainer.report.files import KeptPredictions
from utils.errors import UserError
from utils.shot_groups import FEW_BELOW, MANY_ABOVE, shot_groups

_WHOLE = "all test images"
_STRONGEST = 50
_GROUPS = {
    "many": f"more than {MANY_ABOVE}",
    "medium": f"{FEW_BELOW} to {MANY_ABOVE}",
    "few": f"fewer than {FEW_BELOW}",
}


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability diagram of some of the images; `accuracy` and `confidence` are their means, `ece` is of 15 bins."""

    title: str
    images: int
    accuracy: float
    confidence: float
    ece: float
    bins: ReliabilityBins


def reliability_of(
    kept: KeptPredictions | None, classes: RunClasses, rows: Sequence[Mapping[str, Any]]
) -> tuple[list[Reliability], list[str]]:
    """Diagrams of the whole test split, of its many-, medium- and few-shot classes, and of the ends of the ladder.

    Args:
        kept: the predictions; None: there are none, and nothing to say.
        classes: of the run.
        rows: its results; the strongest shifts that were swept are shown, ratio 50 where none was.

    Returns:
        the diagrams, and which there are not and why, a sentence each.
    """
    if kept is None:
        return [], []
    everything = np.ones(len(kept.targets), bool)
    if classes.counts is None:
        told = "Reliability of groups and shifted distributions: the training images of each class are not known."
        return [_diagram(_WHOLE, kept, everything)], [told]
    remarks, chosen = [], {_WHOLE: everything}
    for name, mask in shot_groups(classes.counts).items():
        if mask[kept.targets].any():
            chosen[f"{name} classes"] = mask[kept.targets]
        else:
            remarks.append(f"No test image is of a class with {name} ({_GROUPS[name]}) training images.")
    if classes.loader is None:
        split = TestSplit(kept.targets, classes.counts)
    else:
        # what stands in for lists is told by the sweeps, and not logged once more
        split = replace(loaded_split(classes.loader, kept.targets, kept.skipped), shifts_are_listed=False)
    distributions, impossible = _possible(_asked(rows, split), split)
    for each in distributions:
        chosen[each.name] = np.isin(np.arange(len(kept.targets)), each.indices)
    return [_diagram(title, kept, mask) for title, mask in chosen.items()], [*remarks, *impossible]


def _diagram(title: str, kept: KeptPredictions, mask: NDArray[np.bool_]) -> Reliability:
    confidences, right = kept.confidences[mask], kept.right[mask]
    return Reliability(
        title,
        int(mask.sum()),
        float(right.mean()),
        float(confidences.mean()),
        reliability_bins(confidences, right).expected_error,
        reliability_bins(confidences, right, num_bins=10),
    )


def _asked(rows: Sequence[Mapping[str, Any]], split: TestSplit) -> list[str]:
    """The strongest forward and backward shift, and between them uniform where the whole split is not that."""
    swept = [
        LISTED.fullmatch(name)
        for row in rows
        if row.get("protocol") == "shifts"
        for name in str(row.get("distribution")).split(" = ")
    ]

    def strongest(side: str) -> str:
        return f"{side}{max((int(match[2]) for match in swept if match and match[1] == side), default=_STRONGEST)}"

    return [strongest("forward"), *([] if split.is_uniform else ["uniform"]), strongest("backward")]


def _possible(names: Sequence[str], split: TestSplit) -> tuple[list[Distribution], list[str]]:
    """Those that the test split allows; of the others, why it doesn't and what would."""
    found, remarks = [], []
    for name in names:
        try:
            found += select([name], split)
        except UserError as error:
            remarks.append(f"{name}: {str(error).partition(': ')[2]}. {_needed(name)}")
    return found, remarks


def _needed(name: str) -> str:
    """Test images that a shift of a split takes: ⌊r · share⌋ of each class, shares falling from 1 to 1/r."""
    match = LISTED.fullmatch(name)
    if match is None:
        return "It takes a test image of each class."
    first, last = ("most", "fewest") if match[1] == "forward" else ("fewest", "most")
    return (
        f"It takes {match[2]} test images of the class with the {first} training images, falling to one of that with "
        f"the {last}."
    )
