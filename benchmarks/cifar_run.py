"""A run of the standard CIFAR-100-LT recipe on made-up images, in this process, for benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from base import RunFolder
from base.trainer_options import PrecisionName
from benchmarks.alternating import IN_BF16, OURS
from benchmarks.plain import PlainImages, PlainNetwork
from data_loader.datasets.image_sets import ImageSet
from model.priors import log_prior
from tests.data_loader.cifar_files import write_cifar
from trainer.build import build_trainer
from trainer.config.run_config import run_config
from trainer.engine.precision import Precision, fastest_safe
from trainer.loaders import build_loaders
from trainer.trainer import Trainer
from utils.allocator import keep_freed_memory
from utils.config.json_files import read_configuration
from utils.config.parser import ConfigParser

RECIPE = Path("configs/mixup/standard_training/config_cifar100_ir100_bs-experts.json")
CLASSES, BATCH = 100, 128
TAUS = (0.0, 1.0, 2.0)
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class CifarRun:
    """This project's trainer of the recipe, and the same weights and images for the plain way.

    Args:
        trainer: ours.
        plain: the plain network, with the same weights.
        train: the same training images.
        test: the same test images.
        log_prior: of the training images, [C].
    """

    trainer: Trainer
    plain: PlainNetwork
    train: PlainImages
    test: PlainImages
    log_prior: torch.Tensor

    def training_gflop(self) -> float:
        """Of an image: twice a multiply-add, forward and (twice as much) backward."""
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.plain(torch.zeros(1, 3, 32, 32))
        return 3 * counter.get_total_flops() / 1e9

    def in_each_precision(self, way: Callable[[], object]) -> dict[str, Callable[[], object]]:
        """The same in float32, and in bfloat16 where this processor multiplies matrices in it."""
        ways = {OURS: self.in_precision("fp32", way)}
        return ways | {IN_BF16: self.in_precision("bf16", way)} if fastest_safe(_CPU) == "bf16" else ways

    def in_precision(self, name: PrecisionName, way: Callable[[], object]) -> Callable[[], object]:
        """The same, with the network in a precision."""

        def run() -> None:
            self.trainer.method.network.autocast = Precision(name, _CPU).autocast
            way()

        return run

    def plain_optimizer(self) -> torch.optim.SGD:
        """As the recipe has it."""
        return torch.optim.SGD(self.plain.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)


def cifar_run(folder: Path, *, largest_class: int, test_images: int) -> CifarRun:
    """Write made-up CIFAR-100 files below `folder` and build a run from them; freed memory is kept, for both ways.

    Args:
        folder: for the files and the run.
        largest_class: training images of the largest class; the smallest has a hundredth.
        test_images: of the test split, ≥ 100.
    """
    keep_freed_memory()
    write_cifar(folder, CLASSES, train_images=CLASSES * largest_class, test_images=test_images)
    config, files = read_configuration(RECIPE)
    config["data_loader"]["args"] |= {
        "data_dir": str(folder),
        "num_workers": 0,
        "verify": False,
        "max_per_class": largest_class,
    }
    config["trainer"]["monitor"] = "off"
    parser = ConfigParser(config, source=str(RECIPE), files=files)
    typed = run_config(parser)
    loaders = build_loaders(typed)
    run_folder = folder / "run"
    run_folder.mkdir()
    trainer = build_trainer(
        typed,
        parser=parser,
        loaders=loaders,
        device=_CPU,
        folder=RunFolder(run_folder),
        resumed=None,
        distributed=None,
    )
    splits = loaders["train"].splits
    plain = PlainNetwork(len(TAUS), CLASSES)
    plain.load_state_dict(trainer.method.network.state_dict())
    return CifarRun(
        trainer,
        plain,
        _plain(splits["train"], augmented=True),
        _plain(splits["test"], augmented=False),
        log_prior(torch.tensor(loaders["train"].cls_num_list, dtype=torch.float32)),
    )


def _plain(images: ImageSet, *, augmented: bool) -> PlainImages:
    ids = np.zeros((len(images), 3), dtype=np.int64)
    ids[:, 1] = np.arange(len(images))
    pixels = images.read(ids).numpy().transpose(0, 2, 3, 1)  # [N, 3, 32, 32] → [N, 32, 32, 3]
    return PlainImages(np.ascontiguousarray(pixels), images.targets, augmented=augmented)
