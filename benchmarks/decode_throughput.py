"""Images a second on one core: this project's decoding and standard training transform against the plain Pillow one.

    python -m benchmarks.decode_throughput --out decode.json

Both do the same to the same files: decode, random resized crop to 224, flip, colour jitter, float, normalise. The
plain pipeline is torchvision's transforms on Pillow images, one after the other; its images aren't even stacked to a
batch. Ours reads and crops image by image and does the rest a batch at a time, everything in this one process and
thread. "worker" is the first half of ours alone, a stacked uint8 batch: what is left to a core where a GPU does the
rest. "jpeg" and "raw" are ours out of a cache of images whose shorter side is 256. They alternate, and the medians over
the rounds count, in seconds of this process's own computing time, so that other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torchvision import transforms

from benchmarks.machine import processor_name
from data_loader.cache.building import build_cache
from data_loader.cache.layout import Format
from data_loader.data_loaders.image_lists import ImageListDataLoader
from data_loader.file_loader import IMAGENET_MEAN, IMAGENET_STD
from utils.allocator import keep_freed_memory
from utils.config.command_line import OneLineParser, positive_integer

SIZES = ((500, 375), (800, 600))
_BATCH = 32
_QUALITY = 90


def write_photos(folder: Path, size: tuple[int, int], count: int) -> Path:
    """JPEGs of one size, cut at random from scikit-learn's two photographs; returns the list that names them."""
    random = np.random.default_rng(0)
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    lines = []
    for i in range(count):
        photo = photos[i % len(photos)]
        zoom = max(size[0] / photo.width, size[1] / photo.height) * random.uniform(1.0, 1.2)
        larger = photo.resize((round(photo.width * zoom) + 1, round(photo.height * zoom) + 1), Image.Resampling.LANCZOS)
        left, top = (int(random.integers(0, a - b + 1)) for a, b in zip(larger.size, size, strict=True))
        larger.crop((left, top, left + size[0], top + size[1])).save(folder / f"{i}.jpg", quality=_QUALITY)
        lines.append(f"{i}.jpg {i % len(photos)}\n")
    listed = folder / "list.txt"
    listed.write_text("".join(lines))
    return listed


def plain_transform(side: int = 224) -> Callable[[Image.Image], Tensor]:
    """A Pillow image → the network's input [3, side, side]."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(side),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.4, 0.4, 0.4, 0),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )


def plain_pipeline(paths: list[Path], side: int = 224) -> Callable[[], None]:
    transform = plain_transform(side)

    def run() -> None:
        for path in paths:
            with Image.open(path) as picture:
                transform(picture.convert("RGB"))

    return run


def list_loader(listed: Path, **args: Any) -> ImageListDataLoader:
    """Ours of the files that a list beside them names."""
    lists = {"train_txt": str(listed), "test_txt": str(listed)}
    return ImageListDataLoader(**{"data_dir": str(listed.parent), "num_classes": 2, **lists, **args})


def cached_loader(listed: Path, form: Format, **args: Any) -> ImageListDataLoader:
    """Ours from a cache of these files, which lies in a folder beside them and is built first."""
    loader = list_loader(listed, cache=str(listed.with_name("cache")), cache_format=form, **args)
    build_cache(loader, workers=0)
    return loader


def our_pipeline(loader: ImageListDataLoader, *, whole: bool = True) -> Callable[[], None]:
    def run() -> None:
        for batch in loader.epoch(0):
            if whole:
                batch.view()

    return run


def measure(size: tuple[int, int], *, count: int, rounds: int) -> dict[str, Any]:
    """Images a second of both, in alternating rounds."""
    with tempfile.TemporaryDirectory() as folder:
        listed = write_photos(Path(folder), size, count)
        args = {"batch_size": _BATCH, "num_workers": 0}
        pipelines = {
            "plain": plain_pipeline(sorted(Path(folder).glob("*.jpg"))),
            "ours": our_pipeline(list_loader(listed, **args)),
            "worker": our_pipeline(list_loader(listed, **args), whole=False),
            "jpeg": our_pipeline(cached_loader(listed, "jpeg", **args)),
            "raw": our_pipeline(cached_loader(listed, "raw", **args)),
        }
        rates: dict[str, list[float]] = {name: [] for name in pipelines}
        for round_ in range(rounds + 1):
            for name, run in pipelines.items():
                start = time.process_time()
                run()
                if round_:  # the first warms up
                    rates[name].append(count / (time.process_time() - start))
        bytes_a_file = sum(path.stat().st_size for path in Path(folder).glob("*.jpg")) / count
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    ratios = {name: np.array(rates[name]) / np.array(rates["plain"]) for name in pipelines if name != "plain"}
    return {
        "size": f"{size[0]}x{size[1]}",
        "bytes_a_file": round(bytes_a_file),
        "images_a_second": medians,
        "ratio": {name: float(np.median(values)) for name, values in ratios.items()},
        "ratio_range": {name: [float(values.min()), float(values.max())] for name, values in ratios.items()},
        "rates": rates,
    }


def main() -> None:
    parser = OneLineParser(
        prog="python -m benchmarks.decode_throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="JSON", help="file for the figures")
    parser.add_argument("--images", type=positive_integer, default=64, help="files of each size; default: 64")
    parser.add_argument("--rounds", type=positive_integer, default=15, help="alternating pairs of runs; default: 15")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as training does, here for both
    machine = {
        "processor": processor_name(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "pillow", "numpy")},
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    results = []
    for size in SIZES:
        result = measure(size, count=arguments.images, rounds=arguments.rounds)
        results.append(result)
        print(f"{result['size']}: plain {result['images_a_second']['plain']:.0f} images/s")
        for name, ratio in result["ratio"].items():
            rate, (low, high) = result["images_a_second"][name], result["ratio_range"][name]
            print(f"  {name:6} {rate:.0f} images/s, ratio {ratio:.2f} (rounds: {low:.2f} to {high:.2f})")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
