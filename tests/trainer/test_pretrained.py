"""`train.py --pretrained`: somebody else's weights to start from, by one word; nothing is downloaded here."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torchvision.models import get_model_weights

from model.published_weights import MODELS, PUBLISHED, TORCHVISION, architecture_of, published_weights
from tests.data_loader.image_trees import write_user_folder
from tests.scripts.command_line import Shell, the_run
from trainer.own_images.network import choose_network
from trainer.pretrained import source_for, wanted_source, with_pretrained
from utils.config.parser import ConfigParser
from utils.errors import UserError

QUICK = ("--epochs", 1, "--num_experts", 2, "--bs", 4, "--set", "data_loader.args.image_size=16")
QUICK += ("--set", "data_loader.args.max_per_class=4", "--set", "trainer.validate=false", "--no-report")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict that torchvision's ResNet-18 has written."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), file)
    return file


def test_the_trunk_of_a_run_on_own_images_is_the_files_to_the_bit(tmp_path: Path, shell: Shell, weights: Path) -> None:
    """What is not trained shows it still at the end; neither test.py nor -r needs the file again."""
    write_user_folder(tmp_path / "plants")
    mine, saved = tmp_path / "mine.pth", tmp_path / "saved"
    mine.write_bytes(weights.read_bytes())
    frozen = ("--set", 'trainable=["backbone.linears.*"]', "--save_dir", saved)
    ended = shell("train.py", "--images", tmp_path / "plants", "--pretrained", mine, *QUICK, *frozen)
    assert (ended.code, ended.err) == (0, "")
    assert f"initialise.checkpoint = {mine}: " in ended.out
    run = the_run(saved, "plants")
    written = json.loads((run / "config.json").read_text(encoding="utf8"))
    assert (written["arch"]["type"], written["initialise"]["checkpoint"]) == ("ResNet18Model", str(mine))
    trained = torch.load(run / "checkpoint-epoch1.pth", weights_only=True)["state_dict"]
    for name, value in torch.load(weights, weights_only=True).items():
        stage, _, rest = name.partition(".")
        copies = [f"{stage}s.{e}.{rest}" for e in range(2)] if stage in ("layer3", "layer4") else [name]
        for copy in copies if stage != "fc" else []:
            assert torch.equal(trained[f"backbone.{copy}"], value), copy
    mine.unlink()
    assert shell("test.py", "-r", run / "checkpoint-epoch1.pth").code == 0
    assert shell("train.py", "-r", run / "checkpoint-epoch1.pth").code == 0


def test_a_download_that_fails_is_one_line_and_leaves_nothing(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise URLError(OSError("no network"))

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    write_user_folder(tmp_path / "plants", broken=False)
    saved = tmp_path / "saved"
    ended = shell(
        "train.py", "--images", tmp_path / "plants", "--pretrained", "--n_gpu", 0, "--save_dir", saved, *QUICK
    )
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "torchvision:ResNet18_Weights.IMAGENET1K_V1: can't be downloaded (no network); download https" in ended.err
    assert "--pretrained FILE" in ended.err
    assert list(saved.rglob("*.*")) == []


def test_every_published_name_is_torchvisions_newest_for_this_network() -> None:
    for kind, name in PUBLISHED.items():
        model = name.partition("_Weights.")[0].lower()
        assert str(get_model_weights(model).DEFAULT) == name
        assert (published_weights(model), MODELS[model]) == (TORCHVISION + name, kind)
        assert architecture_of(TORCHVISION + name) == kind
        assert source_for(kind, "") == TORCHVISION + name


def given(pretrained: str | None, initialise: object = None) -> Namespace:
    return Namespace(pretrained=pretrained, initialise=initialise)


def test_names_are_taken_with_and_without_their_details() -> None:
    older = "torchvision:ResNet50_Weights.IMAGENET1K_V1"
    assert wanted_source(given(None)) is None
    assert wanted_source(given("")) == ""
    assert wanted_source(given("resnet50")) == "torchvision:ResNet50_Weights.IMAGENET1K_V2"
    assert wanted_source(given("ResNet50_Weights.IMAGENET1K_V1")) == wanted_source(given(older)) == older


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (given("resnet5O"), "resnet5O: no such file of weights (given by --pretrained); torchvision's weights of"),
        (given("torchvision:vgg11"), "torchvision's weights of networks like ours are resnet18, resnet50, "),
        (given("", initialise=("a.pth", "--initialise")), "leave out one"),
    ],
)
def test_what_names_no_weights_is_refused(arguments: Namespace, told: str) -> None:
    with pytest.raises(UserError) as caught:
        wanted_source(arguments)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("architecture", "wanted", "told"),
    [
        ("ResNet32Model", "", "torchvision publishes no weights of a ResNet32Model; set arch.type to one of ResNet18M"),
        ("ResNet34Model", "", "or name a file: --pretrained FILE"),
        ("ResNet18Model", "torchvision:ResNet50_Weights.IMAGENET1K_V2", "are weights of a ResNet50Model, and arch.typ"),
    ],
)
def test_weights_of_another_network_are_refused(architecture: str, wanted: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        source_for(architecture, wanted)
    assert told in str(caught.value)


def test_own_images_get_the_network_that_the_weights_are_of(tmp_path: Path) -> None:
    def chosen(wanted: str | None, **changes: object) -> tuple[str, str | None]:
        network = choose_network(wanted, **{"given": None, "has_gpu": False, **changes})
        return network.architecture, network.source

    resnet50 = ("ResNet50Model", "torchvision:ResNet50_Weights.IMAGENET1K_V2")
    assert chosen(None) == ("ResNet10Model", None)
    assert chosen("") == ("ResNet18Model", "torchvision:ResNet18_Weights.IMAGENET1K_V1")
    assert chosen("", has_gpu=True) == chosen("", given="ResNet50Model") == chosen(resnet50[1]) == resnet50
    other = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.ones(2, 3)}, other)
    with pytest.raises(UserError, match="is a state dict of no network that there is here"):
        chosen(str(other))


def test_a_configurations_network_decides_what_the_bare_flag_means(shell: Shell, weights: Path) -> None:
    ended = shell("train.py", "-c", "configs/digits/config_digits_ir40_bs-experts.json", "--pretrained")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "no weights of a ResNet32Model" in ended.err
    for asked, source in (("", f"torchvision:{PUBLISHED['ResNet101Model']}"), (str(weights), str(weights))):
        parser = ConfigParser({"arch": {"type": "ResNet101Model"}}, source="a test")
        assert with_pretrained(parser, given(asked)).config["initialise"] == {"checkpoint": source}
