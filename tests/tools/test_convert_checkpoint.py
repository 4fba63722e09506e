"""A published checkpoint, converted, is evaluated like one of our own; nothing in it is executed."""

from __future__ import annotations

import io
import os
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.scripts.command_line import Shell
from tests.trainer.small_runs import run, small_config
from tools import convert_checkpoint
from utils.config.json_files import read_json
from utils.config.parser import CONFIG_NAME
from utils.errors import UserError
from utils.files.checkpoint import load_checkpoint

pytestmark = pytest.mark.usefixtures("_quick_throughout")

CONFIG = small_config(trainer__epochs=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of our own whose weights the published one takes over."""
    folder = tmp_path_factory.mktemp("trained")
    run(folder, CONFIG)
    return folder / "checkpoint-epoch1.pth"


def publish(path: Path, weights: Path, config: dict[str, Any], patch: pytest.MonkeyPatch, **how: Any) -> Path:
    """Write a checkpoint in the published form: `module.` before each name, the configuration object pickled."""
    module = types.ModuleType("parse_config")
    parser = type("ConfigParser", (), {"__module__": "parse_config"})
    module.ConfigParser = parser  # type: ignore[attr-defined]
    held = parser()
    held.__dict__ |= {"_config": OrderedDict(config), "resume": None, "_save_dir": path.parent}
    state = {f"module.{name}": value for name, value in load_checkpoint(weights)["state_dict"].items()}
    content = {
        "arch": "ResNet32Model",
        "epoch": 1,
        "state_dict": state,
        "monitor_best": np.float64(0.5),
        "config": held,
    }
    with patch.context() as inside:
        inside.setitem(sys.modules, "parse_config", module)
        torch.save(content, path, **how)
    return path


def convert(patch: pytest.MonkeyPatch, *arguments: object) -> None:
    patch.setattr(sys, "argv", ["convert_checkpoint", *(str(argument) for argument in arguments)])
    convert_checkpoint.main()


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_a_converted_checkpoint_gives_the_results_of_the_weights_in_it(
    tmp_path: Path, trained: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, new_format: bool
) -> None:
    old = publish(tmp_path / "old.pth", trained, CONFIG, monkeypatch, _use_new_zipfile_serialization=new_format)
    new = tmp_path / "converted" / "checkpoint-epoch1.pth"
    convert(monkeypatch, old, new)
    assert read_json(new.parent / CONFIG_NAME) == CONFIG
    tables = []
    for checkpoint in (trained, new):
        ended = shell("test.py", "-r", checkpoint)
        assert (ended.code, ended.err) == (0, "")
        tables.append([line for line in ended.out.splitlines() if line.startswith(("ensemble", "expert"))])
    assert tables[0] == tables[1]
    assert len(tables[0]) == 3


def test_the_scripts_send_a_published_checkpoint_to_the_converter(
    tmp_path: Path, trained: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = publish(tmp_path / "old.pth", trained, CONFIG, monkeypatch)
    for script in ("test.py", "test_all_cifar.py", "train.py"):
        ended = shell(script, "-r", old, "-c", trained.parent / CONFIG_NAME)
        assert ended.code == 2
        assert len(ended.err.splitlines()) == 1
        assert "python -m tools.convert_checkpoint" in ended.err


def test_weights_that_do_not_fit_the_configuration_are_refused_by_name(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = small_config(arch__args__num_experts=3, loss__args__tau_list=[0, 1, 2])
    old = publish(tmp_path / "old.pth", trained, other, monkeypatch)
    with pytest.raises(UserError, match=r"missing backbone\.layer3s\.2\."):
        convert(monkeypatch, old, tmp_path / "new.pth")
    assert not (tmp_path / "new.pth").exists()


def test_nothing_that_exists_is_overwritten(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = publish(tmp_path / "old.pth", trained, CONFIG, monkeypatch)
    (tmp_path / "new.pth").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"already exists; choose another name \(nothing is overwritten\)"):
        convert(monkeypatch, old, tmp_path / "new.pth")
    assert (tmp_path / "new.pth").read_bytes() == b"precious"
    (tmp_path / CONFIG_NAME).write_text('{"name": "another run"}')
    with pytest.raises(UserError, match=r"belongs to another run; write .* to another folder"):
        convert(monkeypatch, old, tmp_path / "other.pth")
    assert not (tmp_path / "other.pth").exists()


def test_without_any_configuration_one_is_asked_for(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"state_dict": load_checkpoint(trained)["state_dict"]}, tmp_path / "bare.pth")
    with pytest.raises(UserError, match="give one with -c"):
        convert(monkeypatch, tmp_path / "bare.pth", tmp_path / "new" / "x.pth")
    convert(monkeypatch, tmp_path / "bare.pth", tmp_path / "new" / "x.pth", "-c", trained.parent / CONFIG_NAME)
    assert load_checkpoint(tmp_path / "new" / "x.pth")["config"] == CONFIG


@pytest.mark.parametrize("form", ["published", "own"])
def test_a_damaged_checkpoint_is_never_given_a_digest_of_its_own(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    path, new = tmp_path / "old.pth", tmp_path / "new" / "checkpoint-epoch1.pth"
    whole = (publish(path, trained, CONFIG, monkeypatch) if form == "published" else trained).read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        weights = [entry for entry in archive.infolist() if "/data/" in entry.filename and entry.file_size >= 400]
    for entry in weights[::8]:
        damaged = bytearray(whole)
        damaged[entry.header_offset + 300] ^= 4  # behind header and padding, which have 200 bytes at most
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            convert(monkeypatch, path, new, "-c", trained.parent / CONFIG_NAME)
    path.write_bytes(whole + bytes(68_000))
    with pytest.raises(UserError, match="appended"):
        convert(monkeypatch, path, new, "-c", trained.parent / CONFIG_NAME)
    assert len(weights) > 8
    assert not new.exists()


@pytest.mark.parametrize(
    ("entry", "value", "told"),
    [
        ("epoch", torch.ones(1), "'epoch' is a tensor of float32"),
        ("monitor_best", "good", "'monitor_best' is 'good'"),
        ("state_dict", None, "'state_dict' is None"),
    ],
)
def test_content_of_other_types_is_not_written(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, entry: str, value: Any, told: str
) -> None:
    torch.save({"state_dict": load_checkpoint(trained)["state_dict"], entry: value}, tmp_path / "old.pth")
    with pytest.raises(UserError, match=told):
        convert(monkeypatch, tmp_path / "old.pth", tmp_path / "new.pth", "-c", trained.parent / CONFIG_NAME)
    assert not (tmp_path / "new.pth").exists()


def test_whole_numbers_in_place_of_weights_are_refused(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {name: value.to(torch.int8) for name, value in load_checkpoint(trained)["state_dict"].items()}
    torch.save({"state_dict": state}, tmp_path / "old.pth")
    with pytest.raises(UserError, match=r"other types .* a tensor of int8 instead of a tensor of float32"):
        convert(monkeypatch, tmp_path / "old.pth", tmp_path / "new.pth", "-c", trained.parent / CONFIG_NAME)


class Strikes:
    """Pickles as a call that leaves a file behind."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.victim}",)


def test_a_malicious_checkpoint_is_refused_everywhere_and_strikes_nowhere(
    tmp_path: Path, trained: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, evil = tmp_path / "victim", tmp_path / "evil.pth"
    torch.save({"state_dict": load_checkpoint(trained)["state_dict"], "config": Strikes(victim)}, evil)
    with pytest.raises(UserError, match="refused: it calls"):
        convert(monkeypatch, evil, tmp_path / "new.pth")
    for script in ("test.py", "train.py"):
        assert shell(script, "-r", evil, "-c", trained.parent / CONFIG_NAME).code == 2
    assert not victim.exists()
    assert not (tmp_path / "new.pth").exists()
