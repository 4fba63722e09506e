"""Large JPEGs that anybody can make: Fashion-MNIST-LT enlarged to 448 pixels, in folders, with a configuration.

For what changes only large images: `reduced_decoding`. 1,000 to 10 training images a class and 300 test images, the
first of each class in the files' order.

    python -m benchmarks.enlarged_garments --data_dir /usr/share/datasets/fashion-mnist --out data/enlarged_garments
    python train.py -c data/enlarged_garments/config.json --set data_loader.args.reduced_decoding=true
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from data_loader.data_loaders.fashion_mnist import read_fashion_mnist
from utils.config.command_line import OneLineParser
from utils.config.json_files import read_json
from utils.errors import run_main
from utils.reporting.progress import progress_bar

RECIPE = Path("configs/fashion_mnist/config_fashion_mnist_ir100_bs-experts.json")
GARMENTS = 10
COUNTS = {"train": [round(1000 * 0.01 ** (garment / 9)) for garment in range(GARMENTS)], "test": [300] * GARMENTS}
_SIDE, _QUALITY = 448, 90


def write_enlarged_garments(source: Path, folder: Path) -> None:
    """Write `train/` and `test/` with a folder for each garment.

    Args:
        source: folder of Fashion-MNIST's files.
        folder: where to write.
    """
    for split, counts in COUNTS.items():
        garments = read_fashion_mnist(str(source), train=split == "train", verify=False)
        grey = garments.images[:, 0].numpy()
        with progress_bar(split, sum(counts)) as bar:
            for garment, count in enumerate(counts):
                of_garment = folder / split / str(garment)
                of_garment.mkdir(parents=True, exist_ok=True)
                for number, index in enumerate(np.flatnonzero(garments.targets == garment)[:count]):
                    image = Image.fromarray(grey[index]).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
                    image.convert("RGB").save(of_garment / f"{number}.jpg", quality=_QUALITY)
                bar.update(count)


def configuration(folder: Path) -> dict[str, object]:
    """The recipe of Fashion-MNIST-LT for these files: 32 pixels, 16 epochs."""
    config = read_json(RECIPE)
    args = {"data_dir": str(folder), "batch_size": 128, "num_workers": 0}
    args |= {"image_size": 32, "color_jitter": False, "val_fraction": 0}
    config |= {"name": "enlarged_garments", "data_loader": {"type": "ImageFolderDataLoader", "args": args}}
    config["lr_scheduler"]["args"] |= {"step1": 12, "step2": 14, "warmup_epoch": 2}
    config["trainer"] |= {"epochs": 16, "save_period": 16, "verbosity": 1}
    return config


def main() -> None:
    """Write the data set and its configuration."""
    flags = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--data_dir", type=Path, required=True, help="folder of Fashion-MNIST's four .gz files")
    flags.add_argument("--out", type=Path, required=True, help="folder to write to")
    arguments = flags.parse_args()
    write_enlarged_garments(arguments.data_dir, arguments.out)
    (arguments.out / "config.json").write_text(json.dumps(configuration(arguments.out), indent=2) + "\n")
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    run_main(main)
