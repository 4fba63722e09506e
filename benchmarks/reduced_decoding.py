"""Images a second on one core with JPEGs decoded whole and no larger than needed, and the plain way beside both.

    python -m benchmarks.reduced_decoding --threads 1 --out benchmarks/results/reduced_decoding_cpu.json

Photographs of several sizes, the standard training transform to 224 and to 64 pixels: reading, decoding, random crop,
flip, colour jitter, normalising, in this process. The plain way is torchvision's transforms on Pillow images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.alternating import PLAIN, Comparison, by_turns
from benchmarks.bench_flags import run_benchmark
from benchmarks.decode_throughput import list_loader, our_pipeline, plain_pipeline, write_photos

SIZES = {(4000, 3000): 8, (1600, 1200): 32, (800, 600): 64}
"""Of the photographs, and how many are read in a round."""
SIDES = (224, 64)


def measured(rounds: int, *, size: tuple[int, int], side: int) -> Comparison:
    """All ways by turns, of files of one size."""
    count = SIZES[size]
    with tempfile.TemporaryDirectory() as folder:
        listed = write_photos(Path(folder), size, count)
        ways = {PLAIN: plain_pipeline(sorted(Path(folder).glob("*.jpg")), side)}
        for name, reduced in (("whole", False), ("reduced", True)):
            loader = list_loader(listed, batch_size=32, num_workers=0, image_size=side, reduced_decoding=reduced)
            ways[name] = our_pipeline(loader)
        return by_turns(_title(size, side), ways, amount=count, unit="images/s", rounds=rounds)


def _title(size: tuple[int, int], side: int) -> str:
    return f"{size[0]}×{size[1]} to {side}"


MEASURED: dict[str, Callable[[int], Comparison]] = {
    _title(size, side): partial(measured, size=size, side=side) for size in SIZES for side in SIDES
}


def main() -> None:
    """Measure with the flags of the command line."""
    run_benchmark(__doc__, MEASURED)


if __name__ == "__main__":
    main()
