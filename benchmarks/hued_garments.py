"""A data set of 100 classes that anybody can make: each of Fashion-MNIST's ten garments in ten hues.

Every image of Fashion-MNIST is used once: coloured in one hue, with noise in hue and saturation so that neighbouring
hues are confused now and then, and written in the format of CIFAR-100. 500 training images a class, 100 test images.

    python -m benchmarks.hued_garments --data_dir /usr/share/datasets/fashion-mnist --out data/hued_garments
    python train.py -c configs/mixup/standard_training/config_cifar100_ir100_bs-experts.json \\
        --data_dir data/hued_garments --set data_loader.args.verify=false
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from data_loader.data_loaders.fashion_mnist import read_fashion_mnist
from tests.data_loader.cifar_files import write_python2_pickle

GARMENTS = HUES = 10
_HUE_NOISE = 0.03  # standard deviation, as a part of the circle; neighbouring hues are 0.1 apart
_LEAST_SATURATION = 0.35


def write_hued_garments(source: Path, folder: Path, *, per_class: dict[str, int], seed: int = 0) -> None:
    """Write `cifar-100-python` below `folder`; class 10·g + h is garment g in hue h.

    Args:
        source: folder of Fashion-MNIST's files.
        folder: where to write.
        per_class: images of each class, of "train" and "test".
        seed: of which images get which hue, and of the noise.
    """
    random = np.random.default_rng(seed)
    for split, count in per_class.items():
        garments = read_fashion_mnist(str(source), train=split == "train", verify=False)
        grey, of_garment = garments.images[:, 0].numpy(), garments.targets
        images, labels = [], []
        for garment in range(GARMENTS):
            chosen = random.permutation(np.flatnonzero(of_garment == garment))[: HUES * count]
            hues = np.arange(len(chosen)) % HUES
            images.append(_coloured(random, grey[chosen], hues / HUES))
            labels.append(garment * HUES + hues)
        order = random.permutation(sum(len(part) for part in labels))
        targets = np.concatenate(labels)[order]
        content = {
            "filenames": [f"class_{label:02}_s_{index:06}.png" for index, label in enumerate(targets)],
            "batch_label": f"{split}ing batch 1 of 1",
            "fine_labels": targets.tolist(),
            "coarse_labels": (targets // HUES).tolist(),
            "data": np.concatenate(images)[order].reshape(len(targets), -1),
        }
        write_python2_pickle(folder / "cifar-100-python" / split, content)
    names = {
        "fine_label_names": [f"{garment}_{hue}" for garment in range(GARMENTS) for hue in range(HUES)],
        "coarse_label_names": [f"{garment}" for garment in range(GARMENTS)],
    }
    write_python2_pickle(folder / "cifar-100-python" / "meta", names)


def _coloured(random: np.random.Generator, grey: np.ndarray, hues: np.ndarray) -> np.ndarray:
    """Grey images uint8 [N, 28, 28] in hues [N] of 0 … 1: uint8 [N, 3, 32, 32]."""
    hue = (hues + random.normal(0, _HUE_NOISE, len(hues)))[:, np.newaxis] % 1
    saturation = random.uniform(_LEAST_SATURATION, 1, (len(hues), 1))
    # HSV to RGB with value 1: each channel falls off with its distance from its own hue
    distance = np.abs((hue * 6 - np.array([0, 2, 4]) + 3) % 6 - 3)  # [N, 3], in sixths of the circle
    channels = 1 - saturation * (1 - np.clip(2 - distance, 0, 1))
    images = (grey[:, np.newaxis] * channels[:, :, np.newaxis, np.newaxis]).astype(np.uint8)
    return np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))


def main() -> None:
    """Write the data set."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--data_dir", type=Path, required=True, help="folder of Fashion-MNIST's four .gz files")
    flags.add_argument("--out", type=Path, required=True, help="folder to write to")
    arguments = flags.parse_args()
    write_hued_garments(arguments.data_dir, arguments.out, per_class={"train": 500, "test": 100})
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
