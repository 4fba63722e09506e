"""What is chosen for own images: how they are read."""

from __future__ import annotations

import pytest

from trainer.own_images.choices import Circumstances, choices, nested, reading
from trainer.own_images.network import SMALL, ChosenNetwork


@pytest.mark.parametrize(("side", "expected"), [(4 * 64 - 1, None), (4 * 64, True), (3000, True)])
def test_photographs_are_decoded_no_larger_than_their_crops_need(side: int, expected: bool | None) -> None:
    """From four times the network's 64 pixels on: half of such an image has twice what is wanted."""
    at = Circumstances(
        folder="images",
        class_counts=[20, 5],
        validated=2,
        side=side,
        has_gpu=False,
        given={},
        network=ChosenNetwork(SMALL, "", None),
    )
    config, reasons = nested(choices(at, reading("images", validation_split=False)))
    args = config["data_loader"]["args"]
    assert (args["image_size"], args.get("reduced_decoding")) == (64, expected)
    assert ("data_loader.args.reduced_decoding" in reasons) == bool(expected)
