"""What `initialise.checkpoint` may name: files, and torchvision's weights; nothing is downloaded here."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest
import torch
from torchvision.models import ResNet50_Weights, _api

from model.weight_sources import read_source
from utils.errors import UserError
from utils.files.checkpoint import save_checkpoint

STATE = {"conv1.weight": torch.arange(6.0).reshape(2, 3), "bn1.num_batches_tracked": torch.tensor(7)}
NAME = "torchvision:ResNet50_Weights.IMAGENET1K_V2"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torchvision puts what it downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/hub/checkpoints"


def refusal(source: str) -> str:
    """The one line in which a source is refused."""
    with pytest.raises(UserError) as caught:
        read_source(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_plain_state_dict_is_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "plain.pth")
    read = read_source(str(tmp_path / "plain.pth"))
    assert list(read) == list(STATE)
    assert all(torch.equal(read[name], STATE[name]) for name in STATE)


def test_a_checkpoints_state_dict_is_read(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "ours.pth", {"arch": "ResNet32Model", "epoch": 1, "state_dict": STATE})
    read = read_source(str(tmp_path / "ours.pth"))
    assert all(torch.equal(read[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize(
    "content",
    [{}, [1.0], torch.ones(3), {"epoch": 3}, {"a": torch.ones(2), "b": "text"}],
    ids=["empty", "list", "tensor", "numbers", "mixed"],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "else.pth"
    torch.save(content, path)
    assert refusal(str(path)).startswith(f"{path}: ")


def test_pickled_objects_are_never_executed(tmp_path: Path) -> None:
    path = tmp_path / "object.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    assert refusal(str(path)).startswith(f"{path}: ")


@pytest.mark.parametrize("part", [0, 0.3, 0.9])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, part: float) -> None:
    whole, path = tmp_path / "whole.pth", tmp_path / "cut.pth"
    torch.save({"conv1.weight": torch.ones(500)}, whole)
    content = whole.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert refusal(str(path)).startswith(f"{path}: ")


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert refusal(str(tmp_path / "none.pth")).startswith(f"{tmp_path / 'none.pth'}: no such ")
    assert refusal(str(tmp_path)).startswith(f"{tmp_path}: ")


# -- torchvision ------------------------------------------------------------------------------------------------------


def test_published_weights_are_asked_of_torchvision_with_a_check_and_read_safely(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def load(url: str, **options: Any) -> dict[str, torch.Tensor]:
        asked.append((url, options))
        return STATE

    monkeypatch.setattr(_api, "load_state_dict_from_url", load)
    assert read_source(NAME) is STATE
    ((url, options),) = asked
    assert url == ResNet50_Weights.IMAGENET1K_V2.url
    assert options["check_hash"]
    assert options["weights_only"]


@pytest.mark.parametrize(
    "name",
    ["", "nonsense", "ResNet50_Weights", "ResNet50_Weights.V9", "resnet50.IMAGENET1K_V1", "a.b.c",
     "ResNet50_Weights.DEFAULT", "ViT_B_16_Weights.IMAGENET1K_V1", "Wide_ResNet50_2_Weights.IMAGENET1K_V1"],
)  # fmt: skip
def test_other_names_are_refused_with_those_that_there_are(name: str) -> None:
    """`DEFAULT`, too: what it means changes with torchvision's version."""
    message = refusal(f"torchvision:{name}")
    assert message.startswith(f"torchvision:{name}: torchvision has no such weights of a network like ours; choose one")
    for network in ("ResNet18", "ResNet34", "ResNet50", "ResNet101", "ResNet152", "ResNeXt50_32X4D"):
        assert f"{network}_Weights.IMAGENET1K_V1" in message
    assert "ViT" not in message.split("choose one")[1]


def test_the_nearest_name_is_offered() -> None:
    message = refusal("torchvision:resnet101_weights.imagenet1k_v2")
    assert message.endswith("; did you mean 'ResNet101_Weights.IMAGENET1K_V2'?")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (URLError(OSError("Name or service not known")), "Name or service not known"),
        (HTTPError("there", 403, "Forbidden", None, None), "Forbidden"),
        (ConnectionResetError("reset by peer"), "reset by peer"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_without_a_network_one_line_says_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str
) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    url = ResNet50_Weights.IMAGENET1K_V2.url
    there = f"download {url} elsewhere and name the file (--pretrained FILE)"
    assert refusal(NAME) == f"{NAME}: can't be downloaded ({reason}); {there}"
    assert not list(cache.iterdir())


def test_a_damaged_copy_in_the_cache_is_refused(cache: Path) -> None:
    cache.mkdir(parents=True)
    copy = cache / Path(ResNet50_Weights.IMAGENET1K_V2.url).name
    torch.save(STATE, copy)
    assert refusal(NAME) == f"{NAME}: {copy} is damaged; delete it, and it is downloaded anew"
