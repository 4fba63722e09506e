"""Names in the state dict: published checkpoints must fit."""

import pytest
import torch

from model import model as networks


def state(name, **arguments):
    with torch.device("meta"):
        model = getattr(networks, name)(num_classes=5, **arguments)
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def roots(state_dict):
    """First two parts of every name, without numbers: {'backbone.layer2s', …}."""
    return {".".join(key.split(".")[:2]) for key in state_dict}


STEM = {"backbone.conv1", "backbone.bn1"}


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("ResNet32Model", {}, {"layer1", "layer2", "layer3", "linear"}),
        ("ResNet32Model", {"num_experts": 3}, {"layer1", "layer2s", "layer3s", "linears"}),
        ("ResNet32Model", {"num_experts": 3, "share_layer2": True}, {"layer1", "layer2", "layer3s", "linears"}),
        (
            "ResNet32Model_B",
            {"num_experts": 2, "share_layer2": True, "share_layer3": True},
            {"layer1", "layer2", "layer3", "linears"},
        ),
        ("ResNet50Model", {}, {"layer1", "layer2", "layer3", "layer4", "linear"}),
        ("ResNet50Model", {"num_experts": 3}, {"layer1", "layer2", "layer3s", "layer4s", "linears"}),
        (
            "ResNeXt50Model",
            {"num_experts": 3, "share_layer3": True},
            {"layer1", "layer2", "layer3", "layer4s", "linears"},
        ),
        (
            "ResNet10Model",
            {"num_experts": 2, "share_layer2": True},
            {"layer1", "layer2", "layer3s", "layer4s", "linears"},
        ),
    ],
)
def test_stages_are_named_by_how_they_are_shared(name, arguments, expected):
    assert roots(state(name, **arguments)) == STEM | {f"backbone.{part}" for part in expected}


def test_cifar_names_and_shapes_in_full():
    shapes = state("ResNet32Model", num_experts=3, use_norm=True)
    expected = {f"backbone.linears.{expert}.weight": (64, 5) for expert in range(3)}
    blocks = [("backbone", "conv1", (16, 3, 3, 3), "bn1")]
    for stage, width, before in [("layer1", 16, 16), *((f"layer2s.{e}", 32, 16) for e in range(3)),
                                 *((f"layer3s.{e}", 64, 32) for e in range(3))]:  # fmt: skip
        for index in range(5):
            block = f"backbone.{stage}.{index}"
            blocks.append((block, "conv1", (width, before if index == 0 else width, 3, 3), "bn1"))
            blocks.append((block, "conv2", (width, width, 3, 3), "bn2"))
    for block, convolution, shape, norm in blocks:
        expected[f"{block}.{convolution}.weight"] = shape
        expected |= {f"{block}.{norm}.{part}": shape[:1] for part in ("weight", "bias", "running_mean", "running_var")}
        expected[f"{block}.{norm}.num_batches_tracked"] = ()
    assert shapes == expected


def test_projections_of_cifar_b_are_called_shortcut():
    projections = {key for key in state("ResNet32Model_B", num_experts=2) if "conv" not in key and "bn" not in key}
    norms = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    for stage in ("layer2s", "layer3s"):
        for expert in range(2):
            block = f"backbone.{stage}.{expert}.0.shortcut"
            assert f"{block}.0.weight" in projections
            assert {f"{block}.1.{part}" for part in norms} <= projections
    assert len([key for key in projections if "shortcut" in key]) == 4 * 6  # only the first block of a separate stage
    assert not any("shortcut" in key for key in state("ResNet32Model"))


def test_bottlenecks_are_named_as_torchvisions():
    torchvision_models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        twin = torchvision_models.resnext50_32x4d(num_classes=5).state_dict()
    expected = {f"backbone.{key.replace('fc.', 'linear.')}": tuple(value.shape) for key, value in twin.items()}
    assert state("ResNeXt50Model") == expected
    assert list(state("ResNeXt50Model")) == list(expected)  # saved optimisers know parameters by their order


def test_each_expert_of_an_imagenet_net_has_the_same_names():
    shapes = state("ResNet50Model", num_experts=3, use_norm=True)
    assert shapes["backbone.layer3s.2.0.downsample.0.weight"] == (1024, 512, 1, 1)
    assert shapes["backbone.layer4s.1.2.conv2.weight"] == (512, 512, 3, 3)
    assert shapes["backbone.linears.2.weight"] == (2048, 5)
    assert "backbone.linears.0.bias" not in shapes
    per_expert = [{k.replace(f"s.{e}.", "s.", 1) for k in shapes if f"s.{e}." in k} for e in range(3)]
    assert per_expert[0] == per_expert[1] == per_expert[2]


def test_widths_can_be_set():
    shapes = state("ResNet32Model", num_experts=2, layer2_output_dim=20, layer3_output_dim=41)
    assert shapes["backbone.layer2s.1.4.conv2.weight"] == (20, 20, 3, 3)
    assert shapes["backbone.linears.0.weight"] == (5, 41)
    shapes = state("ResNet50Model", num_experts=2, reduce_dimension=True, layer4_output_dim=320)
    assert shapes["backbone.layer3s.0.5.conv2.weight"] == (192, 192, 3, 3)
    assert shapes["backbone.linears.0.weight"] == (5, 1280)


def test_linear_classifiers_have_a_bias():
    assert state("ResNet32Model", num_experts=2)["backbone.linears.1.bias"] == (5,)
