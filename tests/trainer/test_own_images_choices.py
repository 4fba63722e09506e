"""What is chosen for own images: how they are read."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.own_images.choices import Circumstances, choices, nested, reading
from trainer.own_images.network import SMALL, ChosenNetwork


@pytest.mark.parametrize(("side", "expected"), [(4 * 64 - 1, None), (4 * 64, True), (3000, True)])
def test_photographs_are_decoded_no_larger_than_their_crops_need(side: int, expected: bool | None) -> None:
    """From four times the network's 64 pixels on: half of such an image has twice what is wanted."""
    args, reasons = arguments(side)
    assert (args["image_size"], args.get("reduced_decoding")) == (64, expected)
    assert ("data_loader.args.reduced_decoding" in reasons) == bool(expected)


def test_a_cache_that_is_given_is_left_as_it_is() -> None:
    assert "reduced_decoding" not in arguments(3000, {"data_loader.args.cache": "data/cache"})[0]


def arguments(side: int, given: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """Those of the data loader for images of this shorter side, and all reasons."""
    at = Circumstances(
        folder="images",
        class_counts=[20, 5],
        validated=2,
        side=side,
        has_gpu=False,
        given=given or {},
        network=ChosenNetwork(SMALL, "", None),
    )
    config, reasons = nested(choices(at, reading("images", validation_split=False)))
    return config["data_loader"]["args"], reasons
