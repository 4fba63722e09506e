"""Experts on networks of timm: cut in two, they compute what it does; without it, one line says how to get it.

Where timm is not installed, what needs it is skipped: `pip install --no-deps timm huggingface_hub safetensors pyyaml`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.initialisation import take_weights
from model.model import TimmModel
from model.timm_backbone import FAMILIES, make_timm
from model.weight_sources import read_source
from tests.trainer.small_runs import run, small_config
from trainer.config.run_config import find_problems
from trainer.pretrained import source_for
from utils.errors import UserError

TINY = {
    "ResNet": ("resnet10t",),
    "RegNet": ("regnetx_002",),
    "ConvNeXt": ("convnext_atto",),
    "EfficientNet": ("mobilenetv2_035",),
}
ARGS = {"num_classes": 5, "num_experts": 2, "use_norm": True, "returns_feat": True}


def timm_config(**changes: Any) -> dict[str, Any]:
    arch = {"type": "TimmModel", "args": {**ARGS, "num_classes": 10, "model_name": "resnet10t"}}
    return small_config(arch=arch, **changes)


def test_without_timm_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    (problem,) = find_problems(timm_config())
    assert problem.path == "arch"
    assert "needs timm" in problem.message
    assert "pip install timm" in problem.message
    assert "\n" not in problem.message
    with pytest.raises(UserError, match="timm:resnet10t: a TimmModel needs timm"):
        read_source("timm:resnet10t")


def test_the_flag_names_timms_own_weights() -> None:
    assert source_for("TimmModel", "", model_name="resnet10t") == "timm:resnet10t"
    with pytest.raises(UserError, match="publishes no weights of a TimmModel"):
        source_for("TimmModel", "")


@pytest.fixture
def _timm() -> None:
    pytest.importorskip("timm", reason="timm is an optional extra")


def twin(name: str) -> torch.nn.Module:
    torch.manual_seed(1)
    network = make_timm(name)
    for value in network.buffers():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return network.eval()


@pytest.mark.usefixtures("_timm")
@pytest.mark.parametrize("family", FAMILIES)
def test_each_expert_begins_with_the_weights_and_computes_what_timms_does(family: str) -> None:
    for name in TINY[family]:
        source = twin(name)
        assert type(source).__name__ == family
        network = TimmModel(model_name=name, **ARGS).eval()
        state: dict[str, Tensor] = {**source.state_dict(), "head.fc.weight": torch.ones(3), "fc.bias": torch.ones(3)}
        taken = take_weights(network, state, source="there.pth")
        assert all(key.startswith("backbone.linears.") for key in taken.new)
        own = network.state_dict()
        for key, value in source.state_dict().items():
            names = [key] if f"backbone.{key}" in own else [f"lasts.{expert}.{key}" for expert in range(2)]
            assert all(torch.equal(own[f"backbone.{name}"], value) for name in names), key
        with torch.no_grad():
            images = torch.randn(2, 3, 64, 64)
            features = network.backbone.expert_features(images)
            for expert in range(2):
                torch.testing.assert_close(features[:, expert], source(images), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("_timm")
def test_experts_are_drawn_apart_and_every_parameter_takes_part() -> None:
    network = TimmModel(model_name="resnet10t", **ARGS)
    for checkpoints in (False, True):
        network.zero_grad()
        network.backbone.checkpoints_activations = checkpoints
        result = network(torch.randn(2, 3, 32, 32))
        assert (result["output"].shape, result["logits"].shape) == ((2, 5), (2, 2, 5))
        result["logits"].square().sum().backward()
        assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
    first, second = (part.layer4[0].conv1.weight for part in network.backbone.lasts)
    assert not torch.equal(first, second)


@pytest.mark.usefixtures("_timm")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet10z", "has no network 'resnet10z'; did you mean"),
        ("vit_tiny_patch16_224", "is a VisionTransformer, which can't be shared up to its last stage; these can: Res"),
    ],
)
def test_networks_that_can_not_be_cut_are_one_line(name: str, told: str) -> None:
    config = timm_config(arch__args__model_name=name)
    (problem,) = find_problems(config)
    assert told in problem.message
    assert "\n" not in problem.message


@pytest.mark.usefixtures("_timm")
def test_a_run_trains_on_it_from_a_file(tmp_path: Path) -> None:
    source = twin("resnet10t")
    torch.save(source.state_dict(), tmp_path / "timm.pth")
    config = timm_config(initialise={"checkpoint": str(tmp_path / "timm.pth")}, trainable=["backbone.linear*"])
    config["data_loader"]["args"]["max_per_class"] = 3
    state = run(tmp_path / "run", {**config, "trainer": {**config["trainer"], "epochs": 1}})["state_dict"]
    assert torch.equal(state["backbone.lasts.1.layer4.0.conv1.weight"], source.state_dict()["layer4.0.conv1.weight"])
