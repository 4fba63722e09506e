"""Images a second of the whole loader, decoding and the standard training transform, ours against the plain way.

    python -m benchmarks.loader --out benchmarks/results/loader_cpu.json

JPEGs of 500 × 375 pixels, a random crop of 224, by one worker process and by two. The plain way is torchvision's
transforms on Pillow images in torch's DataLoader, whose workers go on from epoch to epoch, as ours do. Ours crops in
the workers, and does the rest on whole batches in this process. It reads the files, a cache of JPEGs whose shorter side
is 256, and a cache of raw pixels of that size. All files are in the system's memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.alternating import PLAIN, Comparison, by_turns
from benchmarks.bench_flags import run_benchmark
from benchmarks.decode_throughput import cached_loader, list_loader, plain_transform, write_photos

_SIZE = (500, 375)
_BATCH = 32
_WORKERS = (1, 2)


class _Photos(Dataset[Tensor]):
    """Files through the plain transform."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths, self.transform = paths, plain_transform()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as picture:
            return self.transform(picture.convert("RGB"))


def measured(rounds: int, *, workers: int, images: int = 16 * _BATCH) -> Comparison:
    """All ways by turns, an epoch of so many images a round."""
    with tempfile.TemporaryDirectory() as folder:
        listed = write_photos(Path(folder), _SIZE, images)
        args: dict[str, Any] = {"batch_size": _BATCH, "num_workers": workers}
        ways = {
            PLAIN: _plain_epoch(sorted(Path(folder).glob("*.jpg")), workers),
            "files": _our_epoch(list_loader(listed, **args)),
            "JPEG cache": _our_epoch(cached_loader(listed, "jpeg", **args)),
            "raw cache": _our_epoch(cached_loader(listed, "raw", **args)),
        }
        title = f"loading, {workers} worker{'s' * (workers > 1)}"
        return by_turns(title, ways, amount=images, unit="images/s", rounds=rounds)


def _plain_epoch(paths: list[Path], workers: int) -> Callable[[], None]:
    loader = DataLoader(_Photos(paths), batch_size=_BATCH, shuffle=True, num_workers=workers, persistent_workers=True)

    def epoch() -> None:
        for _ in loader:
            pass

    return epoch


def _our_epoch(loader: Any) -> Callable[[], None]:
    epochs = count()

    def epoch() -> None:
        for batch in loader.epoch(next(epochs)):
            batch.view()

    return epoch


MEASURED: dict[str, Callable[[int], Comparison]] = {
    f"loading, {workers} worker{'s' * (workers > 1)}": partial(measured, workers=workers) for workers in _WORKERS
}


def main() -> None:
    """Measure with the flags of the command line."""
    run_benchmark(__doc__, MEASURED)


if __name__ == "__main__":
    main()
