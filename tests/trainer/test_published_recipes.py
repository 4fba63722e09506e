"""The published configurations: their values as the paper's table has them, and that each can be built."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import model.model as networks
from data_loader.datasets.longtail import longtail_counts
from model.losses.base import ExpertLoss
from trainer.build import build_criterion
from trainer.config.run_config import find_problems, run_config
from utils.config.json_files import read_configuration
from utils.config.parser import ConfigParser

CONFIGS = Path(__file__).parents[2] / "configs"
PUBLISHED = CONFIGS / "mixup"
OURS = sorted([*CONFIGS.glob("digits/*.json"), *CONFIGS.glob("fashion_mnist/*.json")])
SECOND_STAGES = [CONFIGS / f"digits/config_digits_ir40_{name}.json" for name in ("crt", "lws")]


class Row(NamedTuple):
    """One configuration as the contract describes it."""

    name: str
    arch: str
    num_classes: int
    loader: str
    data_dir: str
    imb_factor: float | None
    batch_size: int
    lr: float
    weight_decay: float
    schedule: dict[str, Any]
    alpha: float
    tau: tuple[float, float]
    taus: list[float]
    n_gpu: int
    num_workers: int
    epochs: int
    save_dir: str
    save_period: int
    randaugm: bool


def cifar_row(classes: int, ratio: int, *, long: bool) -> Row:
    epochs = 400 if long else 200
    steps = (
        {"step1": 320, "step2": 360, "gamma": 0.1, "warmup_epoch": 10}
        if long
        else {"step1": 160, "step2": 180, "gamma": 0.1, "warmup_epoch": 5}
    )
    return Row(
        name=f"Imbalance_CIFAR{classes}LT_IR{ratio}",
        arch="ResNet32Model",
        num_classes=classes,
        loader=f"ImbalanceCIFAR{classes}DataLoader",
        data_dir=f"./data/CIFAR-{classes}",
        imb_factor={10: 0.1, 50: 0.02, 100: 0.01}[ratio],
        batch_size=128,
        lr=0.1,
        weight_decay=5e-4,
        schedule={"type": "CustomLR", "args": steps},
        alpha={10: 0.8, 100: 0.4}[classes],
        tau=(0, 2),
        taus=[0, 1, 2],
        n_gpu=1,
        num_workers=4,
        epochs=epochs,
        save_dir=f"saved/cifar{classes}/ir{ratio}/bs_e{epochs}_tau1.0_bs128_lr0.1",
        save_period=100,
        randaugm=long,
    )


def imagenet_row(network: str, *, long: bool) -> Row:
    epochs = 400 if long else 180
    suffix = "_x" if network == "ResNeXt50" else ""
    return Row(
        name=f"ImageNet_LT_{network}",
        arch=f"{network}Model",
        num_classes=1000,
        loader="ImageNetLTDataLoader",
        data_dir="./data/imagenet",
        imb_factor=None,
        batch_size=64,
        lr=0.025,
        weight_decay=5e-4,
        schedule={"type": "CosineAnnealingLR", "args": {"T_max": epochs, "eta_min": 0}},
        alpha=0.3,
        tau=(0, 2.5),
        taus=[0, 1.25, 2.5],
        n_gpu=2,
        num_workers=12,
        epochs=epochs,
        save_dir=f"saved/imagenet/bs_e{epochs}_tau1.25_bs128_lr0.025{suffix}",
        save_period=100 if long else 90,
        randaugm=long,
    )


def inaturalist_row(*, long: bool) -> Row:
    epochs = 400 if long else 100
    return Row(
        name="iNaturalist_ResNet50",
        arch="ResNet50Model",
        num_classes=8142,
        loader="iNaturalistDataLoader",
        data_dir="./data/iNaturalist",
        imb_factor=None,
        batch_size=512,
        lr=0.2,
        weight_decay=2e-4,
        schedule={"type": "CosineAnnealingLR", "args": {"T_max": epochs, "eta_min": 0}},
        alpha=0.2,
        tau=(-1, 3),
        taus=[-1, 1, 3],
        n_gpu=4,
        num_workers=16,
        epochs=epochs,
        save_dir=f"saved/inaturalist/bs_e{epochs}_tau1_bs512_lr0.2",
        save_period=100,
        randaugm=long,
    )


TABLE: dict[str, Row] = {}
for folder, is_long in (("standard_training", False), ("long_training", True)):
    for number in (10, 100):
        for imbalance in (10, 50, 100):
            key = f"{folder}/config_cifar{number}_ir{imbalance}_bs-experts.json"
            TABLE[key] = cifar_row(number, imbalance, long=is_long)
    for published in ("ResNet50", "ResNeXt50"):
        key = f"{folder}/config_imagenet_lt_{published.lower()}_bs-experts.json"
        TABLE[key] = imagenet_row(published, long=is_long)
    TABLE[f"{folder}/config_iNaturalist_resnet50_bs-experts.json"] = inaturalist_row(long=is_long)


def read(path: Path) -> dict[str, Any]:
    return read_configuration(path)[0]


def test_there_are_exactly_the_eighteen_published_files() -> None:
    found = {str(path.relative_to(PUBLISHED)) for path in PUBLISHED.rglob("*.json")}
    assert found == set(TABLE)
    assert len(TABLE) == 18


@pytest.mark.parametrize("file", TABLE)
def test_published_values(file: str) -> None:
    config, row = read(PUBLISHED / file), TABLE[file]
    network, data, optimizer, trainer = config["arch"], config["data_loader"], config["optimizer"], config["trainer"]
    found = Row(
        name=config["name"],
        arch=network["type"],
        num_classes=network["args"]["num_classes"],
        loader=data["type"],
        data_dir=data["args"]["data_dir"],
        imb_factor=data["args"].get("imb_factor"),
        batch_size=data["args"]["batch_size"],
        lr=optimizer["args"]["lr"],
        weight_decay=optimizer["args"]["weight_decay"],
        schedule=config["lr_scheduler"],
        alpha=config["combiner"]["mixup"]["alpha"],
        tau=(config["loss"]["tau_min"], config["loss"]["tau_max"]),
        taus=run_config(ConfigParser(config, source="a test")).taus,
        n_gpu=config["n_gpu"],
        num_workers=data["args"]["num_workers"],
        epochs=trainer["epochs"],
        save_dir=trainer["save_dir"],
        save_period=trainer["save_period"],
        randaugm=data["args"]["randaugm"],
    )
    assert found == row


@pytest.mark.parametrize("file", TABLE)
def test_what_all_published_configurations_share(file: str) -> None:
    config = read(PUBLISHED / file)
    assert config["optimizer"]["type"] == "SGD"
    assert config["optimizer"]["args"]["momentum"] == 0.9
    assert config["optimizer"]["args"]["nesterov"] is True
    network = config["arch"]["args"]
    assert (network["num_experts"], network["use_norm"]) == (3, True)
    assert (network["reduce_dimension"], network["returns_feat"]) == (False, True)
    assert config["loss"]["type"] == "BSExpertLoss"
    assert config["add_extra_info"] is True
    assert (config["combiner"]["type"], config["combiner"]["mode"]) == ("Combiner", "mixup")
    assert (config["trainer"]["monitor"], config["trainer"]["verbosity"]) == ("max val_accuracy", 2)
    assert config["metrics"] == ["accuracy"]


def criterion_of(config: dict[str, Any], counts: list[int]) -> ExpertLoss:
    return build_criterion(run_config(ConfigParser(config, source="a test")), {"cls_num_list": counts})


@pytest.mark.parametrize("path", [*(PUBLISHED / file for file in TABLE), *OURS], ids=lambda path: path.stem)
def test_every_configuration_is_without_problem_and_builds_its_network_and_loss(path: Path) -> None:
    config = read(path)
    if path in SECOND_STAGES:
        assert [problem.path for problem in find_problems(config)] == ["initialise"]
        config["initialise"] = {"checkpoint": "first.pth"}  # as --initialise would name it
    assert find_problems(config) == []
    with torch.device("meta"):
        network = getattr(networks, config["arch"]["type"])(**config["arch"]["args"])
    assert (network.num_classes, network.num_experts) == (
        config["arch"]["args"]["num_classes"],
        config["arch"]["args"]["num_experts"],
    )
    counts = longtail_counts(500, network.num_classes, imb_type="exp", imb_factor=0.01).tolist()
    criterion = criterion_of(config, counts)
    logits = torch.zeros(network.num_experts, 2, network.num_classes)
    loss = criterion(logits.mean(0), torch.tensor([0, network.num_classes - 1]), {"logits": logits})
    assert torch.isfinite(loss)


@pytest.mark.parametrize(
    ("tau", "experts", "limits", "expected"),
    [
        ("limits", 7, (0, 2), [0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2]),
        ("limits", 1, (0, 2), [1]),
        ("uniform", 4, (0, 2), [0.25, 0.75, 1.25, 1.75]),
        ("uniform", 3, (-1, 3), [-1 / 3, 1, 7 / 3]),
        ("0;1.5", 2, (None, None), [0, 1.5]),
        ([1, 0], 2, (None, None), [1, 0]),
    ],
)
def test_tau_lists(
    tau: str | list[float], experts: int, limits: tuple[float | None, float | None], expected: list[float]
) -> None:
    config = read(PUBLISHED / "standard_training/config_cifar100_ir100_bs-experts.json")
    config["arch"]["args"]["num_experts"] = experts
    config["loss"] = {"type": "BSExpertLoss", "args": {"tau_list": tau}, "tau_min": limits[0], "tau_max": limits[1]}
    assert find_problems(config) == []
    assert run_config(ConfigParser(config, source="a test")).taus == pytest.approx(expected)
    criterion = criterion_of(config, [5] * 100)
    torch.testing.assert_close(criterion.tau_list, torch.tensor(expected, dtype=torch.float32))
