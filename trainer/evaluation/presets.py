"""The scripts as presets: which distributions, which predictors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from data_loader.datasets.longtail import SHIFT_RATIOS


@dataclass(frozen=True)
class Preset:
    """What distinguishes one evaluation script from another.

    Args:
        title: the data sets it is for.
        protocol: in the results' column of that name.
        distributions: names, see `trainer.evaluation.distributions`, in the order of report.
        aggregations: names, see `trainer.evaluation.aggregations`.
        by_default: the distributions are those that nobody asked for: what a test split doesn't allow is left out, and
            the split itself is added where it is not uniform.
    """

    title: str
    protocol: str
    distributions: tuple[str, ...]
    aggregations: tuple[str, ...]
    by_default: bool = True

    def aggregated(self, name: str) -> Preset:
        """With another aggregation of the experts than their mean; beside the mean where each expert stands, too."""
        if name == "mean":
            return self
        return replace(self, aggregations=("mean", name, "experts") if "experts" in self.aggregations else (name,))


def ladder(ratios: Sequence[int]) -> tuple[str, ...]:
    """Forward, most shifted first; uniform; backward. `ratios` fall."""
    forward = (f"forward{ratio}" for ratio in ratios)
    backward = (f"backward{ratio}" for ratio in reversed(ratios))
    return (*forward, "uniform", *backward)


WHOLE = Preset("any data set", "test", ("as_split",), ("mean", "experts"))

SWEEPS = {
    "cifar": Preset(
        "CIFAR-10-LT, CIFAR-100-LT, digits-LT and Fashion-MNIST-LT", "shifts", ladder(SHIFT_RATIOS), ("mean",)
    ),
    "imagenet": Preset(
        "ImageNet-LT, Places-LT and other lists or folders of images", "shifts", ladder(SHIFT_RATIOS), ("mean",)
    ),
    "inat": Preset("iNaturalist 2018", "shifts", ladder((3, 2)), ("mean",)),
}
