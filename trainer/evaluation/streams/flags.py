"""What the evaluation scripts' flags say of a stream; read without PyTorch."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from utils.config.command_line import positive_integer
from utils.errors import UserError

_IMAGES = 10_000
_CHANGES = ("abrupt", "slow")
_FOLLOWERS = ("window", "flh")


@dataclass(frozen=True)
class StreamOptions:
    """A stream as the flags describe it.

    Args:
        batch_size: images that arrive together.
        images: of the whole stream.
        change: "abrupt" or "slow", see `trainer.evaluation.streams.schedule`.
        follower: see `model.prior_estimation.following.FOLLOWERS`.
    """

    batch_size: int
    images: int = _IMAGES
    change: Any = _CHANGES[0]
    follower: str = _FOLLOWERS[0]


def add_stream_flags(parser: argparse.ArgumentParser) -> None:
    """`--stream` and what belongs to it."""
    parser.add_argument(
        "--stream",
        metavar="N",
        type=positive_integer,
        help="images arrive in batches of N, one distribution after the other, and the estimate of --prior follows: "
        "accuracy along time, instead of each distribution's",
    )
    parser.add_argument(
        "--stream-images",
        metavar="M",
        type=positive_integer,
        help=f"images of the whole stream (default: {_IMAGES}); a distribution's come again where it has too few",
    )
    parser.add_argument(
        "--stream-change",
        choices=_CHANGES,
        help="from one distribution to the next at once (default), or by mixtures whose shares change linearly",
    )
    parser.add_argument(
        "--stream-follow",
        choices=_FOLLOWERS,
        help="how the estimate follows: from the recent images, an exponential window (default); or FLH-FTL, "
        "means of the batches' estimates over histories of every length, weighed by how well they foretold",
    )


def stream_options(arguments: argparse.Namespace) -> StreamOptions | None:
    """What the flags say; None without `--stream`.

    Raises:
        UserError: another of them was given without it.
    """
    further = {
        name: value
        for name in ("images", "change", "follow")
        if (value := getattr(arguments, f"stream_{name}")) is not None
    }
    if arguments.stream is None:
        if further:
            raise UserError(
                f"--stream-{next(iter(further))} is of a stream: give --stream N, the images of a batch, too"
            )
        return None
    images = further.get("images", _IMAGES)
    if arguments.stream > images:
        raise UserError(
            f"--stream {arguments.stream}: a batch can't be larger than the stream, which has {images} images"
        )
    return StreamOptions(
        arguments.stream, images, further.get("change", _CHANGES[0]), further.get("follow", _FOLLOWERS[0])
    )
