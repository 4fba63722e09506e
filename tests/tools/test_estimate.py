"""What a recipe is said to cost is what it costs: counted by hand, or on real tensors."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import data_loader.data_loaders as loaders
from model import model as networks
from model.costs import MEMORY_MODES, NetworkCosts, saved_bytes
from model.experts import ExpertModel
from tests.scripts.command_line import ROOT, Ended
from tools import estimate, recipe_costs
from tools.recipe_costs import image_side, images_at_once, optimizer_copies
from utils.config.parser import ConfigParser
from utils.errors import run_main

RECIPES = ROOT / "configs" / "mixup" / "standard_training"
CIFAR = RECIPES / "config_cifar100_ir100_bs-experts.json"
IMAGENET = RECIPES / "config_imagenet_lt_resnet50_bs-experts.json"

FLOAT = 4  # bytes


@pytest.fixture(scope="module", autouse=True)
def _counted_once() -> Iterator[None]:
    """Counting takes a second, and several tests look at the same network."""
    count, known = recipe_costs.costs_of_network, dict[str, NetworkCosts]()

    def remembered(config: ConfigParser, side: int) -> NetworkCosts:
        key = json.dumps([config["arch"], side], sort_keys=True)
        return known[key] if key in known else known.setdefault(key, count(config, side))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe_costs, "costs_of_network", remembered)
        yield


def recipe(path: Path = CIFAR, **overrides: Any) -> ConfigParser:
    """A published recipe; `trainer__epochs=3` sets a key."""
    given = {key.replace("__", "."): (value, "the test") for key, value in overrides.items()}
    return ConfigParser.from_file(path, overrides=given)


def one_linear_expert() -> NetworkCosts:
    return recipe_costs.costs_of_network(recipe(arch__args__num_experts=1, arch__args__use_norm=False), 32)


def small_estimate(gpus: list[int], **overrides: Any) -> dict[str, Any]:
    return recipe_costs.estimate(recipe(**overrides), gpus, tflops=20.0, images_per_core=350.0)


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> Ended:
    """The command, as a shell runs it."""
    monkeypatch.setattr(sys, "argv", ["estimate", *(str(argument) for argument in arguments)])
    code = 0
    try:
        run_main(estimate.main)
    except SystemExit as ended:
        code = int(ended.code or 0)
    printed = capsys.readouterr()
    return Ended(code, printed.out, printed.err)


def test_parameters_and_operations_of_the_contract() -> None:
    costs = recipe_costs.costs_of_network(recipe(), 32)
    assert costs.parameters == 1_362_064
    assert costs.forward / 1e9 == pytest.approx(0.317, abs=5e-4)


def test_activations_of_resnet32_by_hand() -> None:
    """Images, the stem's convolution and its ReLU; of a block two convolutions, a ReLU and the output; the features."""
    kept = one_linear_expert().activations["fp32"]
    blocks = 5 * 4 * (16 * 32 * 32 + 32 * 16 * 16 + 64 * 8 * 8)
    assert kept.per_image == FLOAT * ((3 + 16 + 16) * 32 * 32 + blocks + 64)
    batch_norm_channels = 16 + 10 * (16 + 32 + 64)
    assert kept.fixed == FLOAT * 2 * batch_norm_channels  # mean and deviation of the batch
    assert kept.recomputed == 0


def test_activations_of_resnet32_with_checkpointing_by_hand() -> None:
    """The input of each block: five of stage 1 have 16 channels of 32×32, so has the first of stage 2, and so on."""
    kept = one_linear_expert().activations["fp32 chk."]
    inputs = (5 + 1) * 16 * 32 * 32 + (4 + 1) * 32 * 16 * 16 + 4 * 64 * 8 * 8
    assert kept.per_image == FLOAT * ((3 + 16) * 32 * 32 + inputs + 64)
    assert kept.fixed == FLOAT * 2 * 16
    assert kept.recomputed == FLOAT * 4 * 16 * 32 * 32  # a block of the first stage


def test_the_largest_block_of_resnet50_by_hand() -> None:
    """The very first: two convolutions of 64 channels with their ReLUs, two of 256 (one on the way around), the output.

    In half precision it is the largest still, though the weights' copies make later blocks larger for few images.
    """
    config = recipe(IMAGENET)
    kept = recipe_costs.costs_of_network(config, 224).activations
    values = (4 * 64 + 3 * 256) * 56 * 56
    assert (kept["fp32 chk."].recomputed, kept["bf16 chk."].recomputed) == (4 * values, 2 * values)


@pytest.mark.parametrize("name", ["ResNet32Model", "ResNet10Model"])
@pytest.mark.parametrize("mode", MEMORY_MODES)
def test_real_tensors_need_what_was_counted_without_them(name: str, mode: str) -> None:
    arguments = {"num_classes": 5, "num_experts": 2, "use_norm": True}
    config = ConfigParser({"arch": {"type": name, "args": arguments}}, source="the test")
    counted = recipe_costs.costs_of_network(config, 32).activations[mode]
    network: ExpertModel = getattr(networks, name)(**arguments)
    three, seven = (saved_bytes(network, torch.randn(count, 3, 32, 32), mode)[0] for count in (3, 7))
    assert seven - three == 4 * counted.per_image  # a straight line through other numbers of images than were counted
    # without storage, half-precision BatchNorms report the batch's statistics in half precision, too
    statistics = sum(module.num_features for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    half = MEMORY_MODES[mode][0] is torch.bfloat16
    assert 0 <= three - 3 * counted.per_image - counted.fixed <= (2 * 2 * statistics if half else 0)


@pytest.mark.parametrize("path", [CIFAR, IMAGENET], ids=["CIFAR", "ImageNet"])
def test_half_precision_halves_and_checkpointing_lowers(path: Path) -> None:
    config = recipe(path)
    kept = recipe_costs.costs_of_network(config, image_side(config)).activations
    for suffix in ("", " chk."):
        assert kept[f"bf16{suffix}"].per_image / kept[f"fp32{suffix}"].per_image == pytest.approx(0.5, abs=0.03)
    for precision in ("fp32", "bf16"):
        plain, checkpointed = kept[precision], kept[f"{precision} chk."]
        assert checkpointed.per_image + checkpointed.recomputed < plain.per_image / 2


@pytest.mark.parametrize("checkpoints", [False, True])
def test_operations_of_a_training_step_are_those_that_a_real_one_takes(checkpoints: bool) -> None:
    expected = recipe_costs.costs_of_network(recipe(), 32).training(checkpoints=checkpoints)
    network = networks.ResNet32Model(num_classes=100, num_experts=3, use_norm=True)
    network.backbone.checkpoints_activations = checkpoints
    with FlopCounterMode(display=False) as counter:
        network(torch.randn(2, 3, 32, 32)).sum().backward()
    assert counter.get_total_flops() / 2 == pytest.approx(expected, rel=0.02)  # the images need no gradient


@pytest.mark.parametrize(
    ("kind", "arguments", "copies"),
    [
        ("SGD", {"lr": 0.1}, 0),
        ("SGD", {"lr": 0.1, "momentum": 0.9}, 1),
        ("Adam", {"lr": 0.1}, 2),
        ("AdamW", {"lr": 0.1, "amsgrad": True}, 3),
    ],
)
def test_optimiser_state_is_what_the_optimiser_holds(kind: str, arguments: dict[str, Any], copies: int) -> None:
    assert optimizer_copies(recipe(optimizer={"type": kind, "args": arguments})) == copies


def test_a_gpus_memory_is_weights_gradients_state_and_its_images() -> None:
    (row,) = small_estimate([4])["on"]
    costs = recipe_costs.costs_of_network(recipe(), 32)
    buffers = costs.weight_bytes - FLOAT * costs.parameters
    kept = costs.activations["fp32"]
    expected = 3 * FLOAT * costs.parameters + buffers + kept.fixed + 128 // 4 * kept.per_image
    assert row["total_gib"]["fp32"] * 2**30 == pytest.approx(expected)


def test_images_are_shared_and_taken_in_parts() -> None:
    def at_once(gpus: int, **overrides: Any) -> int:
        return images_at_once(recipe(IMAGENET, **overrides), gpus)[1]  # 64 a batch, n_gpu 2

    assert [at_once(gpus) for gpus in (1, 2, 4, 8)] == [32, 32, 16, 8]
    assert at_once(2, trainer__accumulate_steps=4) == 8
    assert at_once(1, trainer__accumulate_steps="auto") == 64


def test_gradients_exchanged_and_images_read_by_hand() -> None:
    one, four = small_estimate([1, 4])["on"]
    assert one["sent_bytes_a_step_each"] == one["all_reduced_bytes_a_step"] == 0
    assert four["all_reduced_bytes_a_step"] == FLOAT * 1_362_064
    assert four["sent_bytes_a_step_each"] == 2 * 3 / 4 * FLOAT * 1_362_064
    assert one["images_a_second"] == pytest.approx(20e12 / (3 * 0.317e9), rel=2e-3)
    assert four["images_a_second"] == pytest.approx(4 * one["images_a_second"])
    assert one["decoding_cores"] is None  # CIFAR lies in memory
    found = recipe_costs.estimate(recipe(IMAGENET), [2], tflops=20.0, images_per_core=100.0)["on"][0]
    assert found["decoding_cores"] == math.ceil(found["images_a_second"] / 100)


def test_checkpointing_slows_by_the_second_pass_through_the_blocks() -> None:
    plain = small_estimate([1])["on"][0]["images_a_second"]
    checkpointed = small_estimate([1], trainer__activation_checkpointing=True)["on"][0]["images_a_second"]
    assert plain / checkpointed == pytest.approx(4 / 3, rel=0.01)


def test_the_side_of_the_images() -> None:
    assert image_side(recipe()) == 32
    assert image_side(recipe(IMAGENET)) == 224
    assert image_side(recipe(IMAGENET, data_loader__args__image_size=96)) == 96
    digits = loaders.ImbalanceDigitsDataLoader(batch_size=2)
    assert image_side(recipe(data_loader__type="ImbalanceDigitsDataLoader")) == digits.splits["train"].images.shape[-1]
    assert image_side(recipe(data_loader__type="ImbalanceFashionMNISTDataLoader")) == 28


def test_the_command_needs_no_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = call(monkeypatch, capsys, CIFAR, "--gpus", 2, 1, "--tflops", 5, "--out", "out.json")
    assert (ended.code, ended.err) == (0, "")
    assert "1,362,064" in ended.out
    assert "Estimated speed, assuming 5 TFLOP/s" in ended.out
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["gpus"] for row in found["on"]] == [1, 2]
    assert found["assumed"]["tflops"] == 5
    assert list(tmp_path.iterdir()) == [tmp_path / "out.json"]


def test_gpus_beyond_the_groups_of_a_batch_are_idle_and_not_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """128 images are eight groups of sixteen."""
    eight, twelve = small_estimate([8, 12])["on"]
    assert (eight["idle_gpus"], twelve["idle_gpus"]) == (0, 4)
    assert twelve["images_a_second"] == eight["images_a_second"]
    ended = call(monkeypatch, capsys, CIFAR, "--gpus", 8, 12)
    (line,) = [line for line in ended.out.splitlines() if "idle" in line]
    assert line == "12 GPUs: 4 would be idle (not counted): a batch of 128 images has only 8 groups, one GPU each"


def test_the_flags_of_train_are_understood(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flags = ("--num_experts", 5, "--tau_list", "0;1;2;3;4", "--batch_size", 64, "--set", "trainer.epochs=3")
    ended = call(monkeypatch, capsys, CIFAR, *flags, "--out", tmp_path / "out.json")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["experts"], found["batch_size"]) == (5, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.json"], "missing.json: no such configuration file"),
        ([CIFAR, "--gpus", "0"], "argument --gpus: expected a whole number of 1 or more; got '0'"),
        ([CIFAR, "--gpus", "two"], "argument --gpus: expected a whole number of 1 or more; got 'two'"),
        ([CIFAR, "--bs", "0"], "data_loader.args.batch_size"),
        ([CIFAR, "--gpus", "129"], "--gpus 129: more GPUs than the 128 images of a batch"),
        ([CIFAR, "--tflops", "-3"], "argument --tflops: expected a number above 0; got '-3'"),
        ([CIFAR, "--images_per_core", "nan"], "--images_per_core"),
        ([CIFAR, "--set", "arch.args.num_expert=3"], "arch.args.num_expert: unknown key; did you mean 'num_experts'?"),
        ([CIFAR, "--set", "data_loader.args.batch_size=0"], "data_loader.args.batch_size"),
        ([CIFAR, "--set", "trainer"], "--set trainer: expected a.b.c=VALUE"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[object], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = call(monkeypatch, capsys, *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert message in ended.err


def test_the_help_has_the_recipe_first_then_its_own_flags_then_those_of_train(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = call(monkeypatch, capsys, "--help")
    assert ended.code == 0
    usage, described = ended.out.split("\n\n")[:2]
    assert usage.startswith("usage: python -m tools.estimate CONFIG [--gpus N ...]")
    assert len(usage.splitlines()) <= 2
    assert len(described.splitlines()) == 1
    places = [
        ended.out.index(word) for word in ("recipe (JSON)", "\n  --gpus", "\n  --out", "\n  -s VALUE", "examples:")
    ]
    assert places == sorted(places)
