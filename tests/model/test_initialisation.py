"""Weights into networks: torchvision's, our own with as many experts and with one, and those that are refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from model import model as networks
from model.experts import ExpertModel
from model.initialisation import take_weights
from model.rescaling import PerClassScale
from model.twins import twin_of

TWINS = {
    "ResNet18Model": "resnet18",
    "ResNet50Model": "resnet50",
    "ResNeXt50Model": "resnext50_32x4d",
    "ResNet101Model": "resnet101",
    "ResNet152Model": "resnet152",
}


def of_torchvision(name: str, *, device: str = "cpu") -> nn.Module:
    """torchvision's network with weights and statistics that are unlike any initial ones; eval mode."""
    with torch.device("meta"):
        network: nn.Module = getattr(torchvision.models, name)(num_classes=7)
    if device == "meta":
        return network
    network.to_empty(device=device)
    generator = torch.Generator().manual_seed(0)
    for key, value in network.state_dict().items():
        if value.ndim > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
        elif value.is_floating_point():
            value.uniform_(0.1, 0.3, generator=generator)  # residuals stay small, however many there are
        else:
            value.fill_(len(key))
    return network.eval()


def ours(name: str, *, device: str = "cpu", **arguments: Any) -> ExpertModel:
    """A network of ours; its values are nobody's (`torch.empty`), so that what isn't taken is not right by chance."""
    with torch.device("meta"):
        network: ExpertModel = getattr(networks, name)(**{"num_classes": 5, **arguments})
    return network if device == "meta" else network.to_empty(device=device).eval()


def small(seed: int = 0, **arguments: Any) -> ExpertModel:
    """A CIFAR ResNet-32 with weights of a seed."""
    torch.manual_seed(seed)
    return networks.ResNet32Model(**{"num_classes": 5, "use_norm": True, **arguments})


def same_bits(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


# -- torchvision ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TWINS)
def test_the_trunk_computes_what_torchvisions_does(name: str) -> None:
    twin = of_torchvision(TWINS[name])
    state = twin.state_dict()
    network = ours(name)
    assert (twin_of(state), twin_of(network.state_dict())) == (name, name)
    taken = take_weights(network, state, source="there.pth")
    twin.fc = nn.Identity()
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = network.backbone.expert_features(images)[:, 0]  # [B, E, D] → [B, D]
        torch.testing.assert_close(features, twin(images), rtol=1e-5, atol=1e-5)
        assert features.std() > 0
    own = network.state_dict()
    trunk = [key for key in state if not key.startswith("fc.")]
    assert all(same_bits(own[f"backbone.{key}"], state[key]) for key in trunk)
    assert taken.taken == tuple(f"backbone.{key}" for key in trunk)
    assert taken.new == ("backbone.linear.weight", "backbone.linear.bias")
    assert taken.unused == ("fc.weight", "fc.bias")


@pytest.mark.parametrize("name", ["ResNet50Model", "ResNeXt50Model"])
@pytest.mark.parametrize("share_layer3", [False, True])
def test_each_expert_gets_a_copy_of_the_stages_that_it_owns(name: str, share_layer3: bool) -> None:
    state = of_torchvision(TWINS[name]).state_dict()
    network = ours(name, num_experts=3, use_norm=True, share_layer3=share_layer3)
    take_weights(network, {f"module.{key}": value for key, value in state.items()}, source="there.pth")
    own = network.state_dict()
    owned = ("layer4.",) if share_layer3 else ("layer3.", "layer4.")
    for key, value in state.items():
        if key.startswith(owned):
            stage, rest = key.split(".", 1)
            assert all(same_bits(own[f"backbone.{stage}s.{expert}.{rest}"], value) for expert in range(3)), key
        elif not key.startswith("fc."):
            assert same_bits(own[f"backbone.{key}"], value), key
    storages = {own[f"backbone.layer4s.{expert}.0.conv1.weight"].data_ptr() for expert in range(3)}
    assert len(storages) == 3  # copies: they learn apart


def test_what_was_taken_is_told_in_one_line() -> None:
    state = of_torchvision("resnet50").state_dict()
    network = ours("ResNet50Model", num_experts=3, use_norm=True)
    taken = take_weights(network, state, source="torchvision:there", reset=["backbone.layer4s.2.2.bn3*"])
    own = len(network.state_dict())
    assert taken.summary() == (
        f"initialised from torchvision:there: {own - 8} of {own} tensors taken; "
        "new: backbone.layer4s.2.2.bn3.weight, backbone.layer4s.2.2.bn3.bias, backbone.layer4s.2.2.bn3.running_mean "
        "… (8 in all); not taken: fc.weight, fc.bias"
    )


def test_old_files_without_batchnorms_count_of_batches_are_taken() -> None:
    state = {key: value for key, value in small(1).state_dict().items() if not key.endswith(".num_batches_tracked")}
    network = small(2)
    taken = take_weights(network, state, source="old.pth")
    assert taken.new and all(key.endswith(".num_batches_tracked") for key in taken.new)
    assert all(same_bits(value, state[key]) for key, value in network.state_dict().items() if key in state)


# -- our own ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("num_experts", [1, 3])
def test_a_state_dict_of_the_same_network_is_taken_whole(prefix: str, num_experts: int) -> None:
    state = small(1, num_experts=num_experts).state_dict()
    network = small(2, num_experts=num_experts)
    taken = take_weights(network, {prefix + key: value for key, value in state.items()}, source="ours.pth")
    own = network.state_dict()
    assert all(same_bits(own[key], state[key]) for key in own)
    assert taken.summary() == f"initialised from ours.pth: {len(own)} of {len(own)} tensors taken"


def test_one_expert_is_copied_into_each_of_several() -> None:
    state = small(1).state_dict()
    network = small(2, num_experts=3)
    taken = take_weights(network, state, source="one.pth")
    own = network.state_dict()
    for key, value in own.items():
        assert same_bits(value, state[re.sub(r"s\.\d\.", ".", key, count=1)]), key
    assert not taken.new
    assert not taken.unused
    assert {key.split(".")[1] for key in own} == {"conv1", "bn1", "layer1", "layer2s", "layer3s", "linears"}


def test_a_shared_stage_is_copied_into_experts_that_own_it() -> None:
    state = small(1, num_experts=2, share_layer2=True).state_dict()
    network = small(2, num_experts=2)
    take_weights(network, state, source="shared.pth")
    own = network.state_dict()
    assert same_bits(own["backbone.layer2s.1.3.conv2.weight"], state["backbone.layer2.3.conv2.weight"])
    assert same_bits(own["backbone.layer3s.1.3.conv2.weight"], state["backbone.layer3s.1.3.conv2.weight"])


def test_classifiers_for_other_classes_stay_new() -> None:
    network = small(2, num_experts=2, num_classes=9)
    before = network.backbone.linears[1].weight.clone()
    taken = take_weights(network, small(1, num_experts=2).state_dict(), source="five.pth")
    assert same_bits(network.backbone.linears[1].weight, before)
    assert taken.new == taken.unused == ("backbone.linears.0.weight", "backbone.linears.1.weight")


@pytest.mark.parametrize("cosine", [False, True])
def test_a_classifier_of_the_other_kind_stays_new_though_its_weight_is_square(cosine: bool) -> None:
    """64 classes of 64 features: [D, C] of a cosine classifier and [C, D] of a linear one look alike."""
    network = small(2, num_classes=64, use_norm=cosine)
    take_weights(network, small(1, num_classes=64, use_norm=not cosine).state_dict(), source="square.pth")
    untouched = small(2, num_classes=64, use_norm=cosine)
    assert same_bits(network.backbone.linear.weight, untouched.backbone.linear.weight)


def test_what_a_method_adds_stays_new_and_what_another_had_is_left() -> None:
    network, other = small(2, num_experts=2), small(1, num_experts=2)
    network.rescale = PerClassScale(2, 5)
    assert take_weights(network, other.state_dict(), source="first.pth").new == ("rescale.weight",)
    assert take_weights(other, network.state_dict(), source="second.pth").unused == ("rescale.weight",)


def test_half_precision_is_converted_and_whole_numbers_are_refused() -> None:
    network = small(2)
    state = {key: value.half() if value.is_floating_point() else value for key, value in small(1).state_dict().items()}
    take_weights(network, state, source="half.pth")
    stem = network.backbone.conv1.weight
    assert same_bits(stem.detach(), state["backbone.conv1.weight"].float())
    state["backbone.layer1.0.bn1.weight"] = torch.ones(16, dtype=torch.int8)
    with pytest.raises(ValueError, match=r"backbone\.layer1\.0\.bn1\.weight 16 int8 instead of 16;"):
        take_weights(network, state, source="whole.pth")


# -- what stays new ---------------------------------------------------------------------------------------------------


def test_reset_patterns_are_left_as_newly_initialised() -> None:
    network, untouched, state = small(2, num_experts=2), small(2, num_experts=2), small(1, num_experts=2).state_dict()
    taken = take_weights(network, state, source="ours.pth", reset=["*linear*", "backbone.layer3s.1*"])
    for key, value in network.state_dict().items():
        reset = "linear" in key or key.startswith("backbone.layer3s.1")
        assert same_bits(value, untouched.state_dict()[key] if reset else state[key]), key
        assert (key in taken.new) is reset


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("backbone.layer5*", "near are backbone.layer1.*"),
        ("*linaers*", "near are *linears*"),
        ("xyz", "they begin with backbone.conv1, backbone.bn1, backbone.layer1, backbone.layer2s, backbone.layer3s"),
    ],
)
def test_a_pattern_that_fits_nothing_is_refused_with_what_is_near(pattern: str, hint: str) -> None:
    network = small(2, num_experts=2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=re.escape(f"'{pattern}' fits none of the network's parameters; {hint}")):
        take_weights(network, small(1, num_experts=2).state_dict(), source="ours.pth", reset=[pattern])
    assert all(same_bits(value, before[key]) for key, value in network.state_dict().items())


# -- other networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        (
            "ResNet34Model",
            "resnet34",
            "its stem is a 7×7 convolution to 64 channels, this network's a 3×3 convolution to 64 channels; "
            "other shapes backbone.conv1.weight 64×3×7×7 instead of 64×3×3×3; strict=false takes what fits",
        ),
        (
            "ResNet32Model",
            "resnet18",
            "its stem is a 7×7 convolution to 64 channels, this network's a 3×3 convolution to 16 channels; "
            "other shapes backbone.conv1.weight 64×3×7×7 instead of 16×3×3×3, backbone.bn1.weight 64 instead of 16, ",
        ),
        ("ResNet101Model", "resnet50", "missing backbone.layer3.6.conv1.weight, "),
        ("ResNet50Model", "resnet101", "unknown backbone.layer3.6.conv1.weight, "),
        ("ResNet50Model", "wide_resnet50_2", "other shapes backbone.layer1.0.conv1.weight 128×64×1×1 instead of 64×64"),
        ("ResNeXt50Model", "resnet50", "other shapes backbone.layer1.0.conv1.weight 64×64×1×1 instead of 128×64×1×1"),
        (
            "ResNet50Model",
            "vgg11",
            "missing backbone.conv1.weight, backbone.bn1.weight, backbone.bn1.bias … (265 in",
        ),  # 53 · (1 + 4)
    ],
)
def test_another_network_is_refused_with_the_reason(name: str, source: str, message: str) -> None:
    state = of_torchvision(source, device="meta").state_dict()
    assert twin_of(state) != name
    with pytest.raises(ValueError, match=re.escape(f"there.pth: is of another network: {message}")) as caught:
        take_weights(ours(name, device="meta"), state, source="there.pth")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(("ours_have", "theirs"), [(3, 2), (2, 3), (1, 2)])
def test_another_number_of_experts_is_refused(ours_have: int, theirs: int) -> None:
    with pytest.raises(ValueError, match=r"(missing|unknown) backbone\.layer2s?\."):
        take_weights(small(2, num_experts=ours_have), small(1, num_experts=theirs).state_dict(), source="ours.pth")


def test_not_strict_takes_what_fits_and_names_the_rest() -> None:
    state = of_torchvision("resnet34").state_dict()
    network = ours("ResNet34Model", num_experts=2)
    taken = take_weights(network, state, source="there.pth", strict=False)
    own = network.state_dict()
    assert same_bits(own["backbone.layer4s.1.2.conv2.weight"], state["layer4.2.conv2.weight"])
    assert taken.new[0] == "backbone.conv1.weight"
    assert all(key.startswith("backbone.linears.") for key in taken.new[1:])
    assert taken.unused == ("backbone.conv1.weight", "fc.weight", "fc.bias")
    assert set(taken.taken) | set(taken.new) == set(own)


def test_a_stem_that_is_to_be_new_may_be_another() -> None:
    state = of_torchvision("resnet34").state_dict()
    taken = take_weights(ours("ResNet34Model"), state, source="there.pth", reset=["backbone.conv1.weight"])
    assert taken.new[0] == "backbone.conv1.weight"


@pytest.mark.parametrize(("state", "reset"), [({"a.weight": torch.ones(2)}, ()), (None, ["*"])])
def test_to_take_nothing_at_all_is_refused(state: dict[str, Tensor] | None, reset: list[str]) -> None:
    source = small(1).state_dict() if state is None else state
    with pytest.raises(ValueError, match="nothing is taken from it"):
        take_weights(small(2), source, source="there.pth", reset=reset, strict=False)
