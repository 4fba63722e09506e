"""The networks' sizes, outputs and arguments, for every type a configuration can name."""

import inspect
import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from model import model as networks
from model.experts import ExpertModel, expert_logits_of
from utils.config.ranges import PositiveFloat, PositiveInt

CIFAR_TYPES = ["ResNet32Model", "ResNet32Model_B"]
TYPES = [name for name in networks.__all__ if issubclass(getattr(networks, name), networks.ExpertsModel)]
FEATURES = {  # D of the published types
    **dict.fromkeys(CIFAR_TYPES, 64),
    **dict.fromkeys(["ResNet10Model", "ResNet18Model", "ResNet34Model"], 512),
    **dict.fromkeys(["ResNet50Model", "ResNet101Model", "ResNet152Model", "ResNeXt50Model", "ResNeXt152Model"], 2048),
}


def build(name, *, device="meta", **arguments):
    """A network; on the meta device it has shapes and no numbers, which makes the big ones cheap."""
    with torch.device(device):
        return getattr(networks, name)(**arguments)


def test_the_published_types_are_there():
    assert FEATURES.keys() <= set(networks.__all__)


@pytest.mark.parametrize(
    ("name", "num_experts", "num_classes", "expected"),
    [
        ("ResNet32Model", 3, 100, 1_362_064),
        ("ResNet32Model", 7, 100, 3_146_384),
        ("ResNet50Model", 3, 50, 67_941_440),
        ("ResNeXt50Model", 3, 50, 66_422_080),
    ],
)
def test_parameter_counts_of_the_contract(name, num_experts, num_classes, expected):
    model = build(name, num_classes=num_classes, num_experts=num_experts, use_norm=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize(("name", "num_blocks"), [("ResNet101Model", 33), ("ResNet152Model", 50)])
def test_depth_is_three_convolutions_a_bottleneck_and_the_stem(name, num_blocks):
    convolutions = [
        module
        for path, module in build(name, num_classes=2).named_modules()
        if isinstance(module, nn.Conv2d) and "downsample" not in path
    ]
    assert len(convolutions) == 3 * num_blocks + 1  # 100 and 151; the classifier makes 101 and 152


@pytest.mark.parametrize(
    "name",
    ["ResNet18Model", "ResNet50Model", "ResNet101Model", "ResNet152Model", "ResNet34Model", "ResNeXt50Model"],
)
def test_one_linear_expert_has_the_size_of_torchvisions_network(name):
    torchvision_models = pytest.importorskip("torchvision.models")
    twin = {"ResNeXt50Model": "resnext50_32x4d"}.get(name, name.removesuffix("Model").lower())
    with torch.device("meta"):
        expected = sum(parameter.numel() for parameter in getattr(torchvision_models, twin)().parameters())
    if name == "ResNet34Model":
        expected -= 3 * 64 * (7 * 7 - 3 * 3)  # its stem is 3×3 here
    assert sum(p.numel() for p in build(name, num_classes=1000).parameters()) == expected


def test_bottleneck_network_computes_what_torchvisions_does():
    torchvision_models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    twin = torchvision_models.resnet50(num_classes=5).eval()
    ours = networks.ResNet50Model(num_classes=5).eval()
    state = {f"backbone.{name.replace('fc.', 'linear.')}": value for name, value in twin.state_dict().items()}
    ours.load_state_dict(state)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), twin(images))


def test_three_experts_of_resnet32_cost_what_the_contract_says():
    model = build("ResNet32Model", num_classes=100, num_experts=3, use_norm=True)
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 32, 32, device="meta"))
    assert counter.get_total_flops() / 1e9 == pytest.approx(0.317, abs=5e-4)


@pytest.mark.parametrize("name", TYPES)
def test_shapes_and_every_parameter_takes_part(name):
    model = build(name, num_classes=7, num_experts=2, returns_feat=True, use_norm=True)
    feature_dim = FEATURES.get(name, model.backbone.feature_dim)
    result = model(torch.empty(2, 3, 32, 32, device="meta"))
    assert {key: tuple(value.shape) for key, value in result.items()} == {
        "output": (2, 7),
        "logits": (2, 2, 7),
        "feat": (2, 2, feature_dim),
    }
    assert isinstance(model, ExpertModel)
    assert (model.num_classes, model.num_experts, model.returns_feat) == (7, 2, True)
    result["logits"].sum().backward()
    assert [parameter for parameter, value in model.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("ResNet32Model", 48), ("ResNet32Model_B", 48), ("ResNet10Model", 384), ("ResNeXt50Model", 4 * 384)],
)
def test_reduced_feature_dimension(name, expected):
    model = build(name, num_classes=3, num_experts=2, reduce_dimension=True, returns_feat=True)
    assert model(torch.empty(2, 3, 32, 32, device="meta"))["feat"].shape == (2, 2, expected)


@pytest.mark.parametrize(
    ("name", "stem_stride", "sizes"),
    [("ResNet32Model", 1, [32, 16, 8]), ("ResNet34Model", 1, [16, 8, 4, 2]), ("ResNet50Model", 2, [8, 4, 2, 1])],
)
def test_resolution_of_each_stage(name, stem_stride, sizes):
    backbone = build(name, num_classes=3).backbone
    assert backbone.conv1.stride == (stem_stride, stem_stride)
    seen = []
    for number in range(1, len(sizes) + 1):
        stage = getattr(backbone, f"layer{number}")
        stage.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[-1]))
    backbone(torch.empty(2, 3, 32, 32, device="meta"))
    assert seen == sizes


def test_output_is_the_plain_mean_of_the_experts_raw_logits():
    torch.manual_seed(0)
    model = networks.ResNet32Model(num_classes=5, num_experts=3, use_norm=True, returns_feat=True).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        result = model(images)
        by_hand = (result["logits"][:, 0] + result["logits"][:, 1] + result["logits"][:, 2]) / 3
        torch.testing.assert_close(result["output"], by_hand)
        torch.testing.assert_close(model.expert_logits(images), result["logits"])
        assert expert_logits_of(result) is result["logits"]
        classifier = model.backbone.linears[1].weight
        cosines = torch.cosine_similarity(result["feat"][:, 1, :, None], classifier[None], dim=1)
        torch.testing.assert_close(result["logits"][:, 1], 30 * cosines)
        assert not torch.allclose(result["logits"][:, 0], result["logits"][:, 1])
        model.returns_feat = False
        torch.testing.assert_close(model(images), by_hand)
        assert expert_logits_of(model(images)).shape == (2, 1, 5)


@pytest.mark.parametrize("returns_feat", [False, True])
def test_one_expert_gives_a_tensor(returns_feat):
    model = networks.ResNet32Model(num_classes=5, returns_feat=returns_feat).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        output = model(images)
        assert output.shape == (2, 5)
        assert model.expert_logits(images).shape == (2, 1, 5)
        torch.testing.assert_close(expert_logits_of(output), model.expert_logits(images))


def test_experts_learn_apart_and_the_trunk_learns_from_all():
    torch.manual_seed(0)
    model = networks.ResNet32Model(num_classes=4, num_experts=2, use_norm=True, returns_feat=True)
    model(torch.randn(2, 3, 32, 32))["logits"][:, 1].square().sum().backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert any(name.startswith("backbone.layer1.") for name in touched)
    assert any(name.startswith("backbone.layer2s.1.") for name in touched)
    assert not any(
        name.startswith(("backbone.layer2s.0.", "backbone.layer3s.0.", "backbone.linears.0")) for name in touched
    )


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    model = networks.ResNet32Model(num_classes=4, num_experts=2, dropout=1.0)
    images = torch.randn(2, 3, 32, 32)
    biases = torch.stack([linear.bias for linear in model.backbone.linears]).mean(0)
    torch.testing.assert_close(model(images), biases.expand(2, 4))  # every feature dropped
    assert not torch.allclose(model.eval()(images), biases.expand(2, 4))


@pytest.mark.parametrize("name", TYPES)
def test_signature_is_the_schema(name):
    parameters = inspect.signature(getattr(networks, name), eval_str=True).parameters
    assert list(parameters) == [
        "num_classes", "num_experts", "use_norm", "reduce_dimension", "layer2_output_dim", "layer3_output_dim",
        "layer4_output_dim", "share_layer2", "share_layer3", "returns_feat", "s", "dropout",
    ]  # fmt: skip
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert parameters["num_classes"].default is inspect.Parameter.empty
    assert parameters["num_classes"].annotation == PositiveInt
    assert parameters["layer3_output_dim"].annotation == PositiveInt | None
    assert parameters["s"].annotation == PositiveFloat


@pytest.mark.parametrize("name", CIFAR_TYPES)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer4_output_dim": 512}, "layer4_output_dim = 512: this network has only 3 layers"),
        ({"share_layer3": True}, "share_layer3 needs share_layer2"),
    ],
)
def test_arguments_without_a_meaning_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(name, num_classes=3, num_experts=2, **arguments)
    assert "\n" not in str(caught.value)


def test_impossible_widths_are_refused():
    with pytest.raises(ValueError, match="cannot narrow 32 channels to 16"):
        build("ResNet32Model", num_classes=3, layer3_output_dim=16)
    with pytest.raises(ValueError, match="a layer width of 8 leaves no channels for 32 groups of width 4"):
        build("ResNeXt50Model", num_classes=3, layer4_output_dim=8)


@pytest.mark.parametrize("name", ["ResNet32Model", "ResNet10Model"])
def test_initial_convolutions_have_the_contracts_spread(name):
    torch.manual_seed(0)
    model = networks.__dict__[name](num_classes=50)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 9000:
            # kaiming_normal_: √(2/(k·k·in)); ImageNet: √(2/(k·k·out))
            channels = module.in_channels if name in CIFAR_TYPES else module.out_channels
            expected = math.sqrt(2 / (module.kernel_size[0] ** 2 * channels))
            assert module.weight.std().item() == pytest.approx(expected, rel=0.05)
    if name in CIFAR_TYPES:
        assert model.backbone.linear.weight.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.06)


def test_random_state_alone_decides_the_weights():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(networks.ResNet32Model(num_classes=3, num_experts=2, use_norm=True).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
