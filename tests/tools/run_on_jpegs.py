"""A run on a folder of JPEGs, and what its checkpoint says of them, computed step by step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from data_loader.datasets.decoding import ImageReader
from data_loader.file_loader import IMAGENET_MEAN, IMAGENET_STD
from data_loader.transforms.crops import CentreCrop
from model.model import ResNet10Model
from model.posthoc_calibration import Calibrator
from tests.data_loader.image_trees import write_user_folder
from tests.trainer.small_runs import small_config, small_trainer
from trainer.evaluation.calibrations import CALIBRATION_FILE, FittedPredictor, StoredCalibration
from utils.files.checkpoint import file_digest, load_checkpoint

SIDE, SHORTER = 32, 37  # 256/224 of the side
NARROW = {f"arch__args__layer{number}_output_dim": 8 for number in (2, 3, 4)}


def make_run(folder: Path) -> Path:
    """`folder/run/model.pth` with a calibration beside it, `folder/data` and `folder/prior.json`.

    The network is untrained, its BatchNorm statistics random, so that its probabilities are far from even.
    """
    tree = write_user_folder(folder / "data", broken=False)
    data = {"batch_size": 8, "num_workers": 0, "image_size": SIDE, "data_dir": str(tree.data_dir)}
    config = small_config(
        **{"arch__type": "ResNet10Model", "arch__args__num_classes": len(tree.class_counts), **NARROW},
        data_loader={"type": "ImageFolderDataLoader", "args": data},
    )
    trainer = small_trainer(folder / "run", config)
    random = torch.Generator().manual_seed(0)
    for name, values in trainer.method.network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            values.add_(torch.rand(values.shape, generator=random) - 0.5)
    checkpoint = trainer.save("model.pth")
    names = trainer.loaders["train"].class_names
    calibrator = Calibrator(np.full(len(names), 0.5), np.linspace(-1, 1, len(names)))
    predictors = {"raw": {"ensemble": FittedPredictor(calibrator, "uniform")}}
    digest = file_digest(checkpoint)
    counts = tuple(tree.class_counts)
    stored = StoredCalibration(checkpoint.name, digest, "a test", "bcts", counts, predictors)
    CALIBRATION_FILE.write(CALIBRATION_FILE.path(checkpoint), stored)
    prior = np.arange(1, len(names) + 1) / np.arange(1, len(names) + 1).sum()
    (folder / "prior.json").write_text(json.dumps(dict(zip(names, prior, strict=True))))
    return folder


def jpegs(folder: Path, count: int) -> list[Path]:
    """Coloured and grey ones, and one of CMYK."""
    return sorted((folder / "data").rglob("*.jpg"), key=lambda path: path.name[::-1])[:count]


def expected(folder: Path, paths: list[Path], *, corrected: bool) -> np.ndarray:
    """The checkpoint's probabilities of image files, step by step; corrected: calibrated, and under the prior."""
    config = json.loads((folder / "run" / "config.json").read_text())
    network = ResNet10Model(**config["arch"]["args"]).eval()
    network.load_state_dict(load_checkpoint(folder / "run" / "model.pth")["state_dict"])
    crop, no_params = CentreCrop(SIDE, SHORTER), np.empty(0)
    images = torch.stack([crop(ImageReader()(str(path)), no_params) for path in paths])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        log_p = torch.log_softmax(network.expert_logits((images / 255 - mean) / std).double().mean(dim=1), dim=1)
    if corrected:
        log_p = 0.5 * log_p + torch.linspace(-1, 1, 3) + torch.tensor([1, 2, 3]).log()
    return torch.softmax(log_p, dim=1).numpy()
