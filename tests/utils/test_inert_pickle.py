"""Pickled checkpoints are read as data: nothing in them runs."""

from __future__ import annotations

import os
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from utils.files.checkpoint import CheckpointError, load_checkpoint
from utils.files.inert_pickle import InertRecord, load_inertly

WEIGHTS = {"module.conv.weight": torch.arange(6.0).view(2, 3), "module.bn.count": torch.tensor(3)}


def save_as_published(path: Path, monkeypatch: pytest.MonkeyPatch, **how: Any) -> None:
    """A checkpoint as the published ones are: its configuration object pickled, its best metric a NumPy scalar."""
    module = types.ModuleType("parse_config")
    parser = type("ConfigParser", (), {"__module__": "parse_config"})
    module.ConfigParser = parser  # type: ignore[attr-defined]
    config = parser()
    config.__dict__ |= {"_config": OrderedDict(name="run"), "resume": None, "_save_dir": Path("saved/models")}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "parse_config", module)
        torch.save(
            {"state_dict": WEIGHTS, "epoch": 200, "monitor_best": np.float64(0.625), "config": config}, path, **how
        )


@pytest.mark.parametrize("new_format", [True, False])
def test_a_published_checkpoint_is_read_with_its_configuration_as_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_format: bool
) -> None:
    save_as_published(tmp_path / "old.pth", monkeypatch, _use_new_zipfile_serialization=new_format)
    content = load_inertly(tmp_path / "old.pth")
    assert all(torch.equal(content["state_dict"][name], value) for name, value in WEIGHTS.items())
    assert content["epoch"] == 200
    assert content["monitor_best"] == 0.625
    assert isinstance(content["config"], InertRecord)
    assert content["config"].__dict__["_config"] == {"name": "run"}


def test_scripts_refuse_a_published_checkpoint_and_name_the_converter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_as_published(tmp_path / "old.pth", monkeypatch)
    with pytest.raises(CheckpointError, match=r"python -m tools\.convert_checkpoint"):
        load_checkpoint(tmp_path / "old.pth")


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def attacks(victim: Path) -> list[Any]:
    write = f"open({str(victim)!r}, 'w').close()"
    return [
        Calls(os.system, f"touch {victim}"),
        Calls(eval, write),
        Calls(exec, write),
        Calls(getattr, Path(victim), "touch"),
        Calls(torch.load, str(victim)),
        Calls(pickle.loads, pickle.dumps(Calls(os.system, f"touch {victim}"))),
        Calls(np.load, str(victim)),
        Calls(os.mkdir, str(victim)),
    ]


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("form", ["zip", "legacy", "plain"])
def test_a_malicious_checkpoint_is_refused_and_nothing_happens(tmp_path: Path, number: int, form: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / "evil.pth"
    content = {"state_dict": WEIGHTS, "config": attacks(victim)[number]}
    if form == "plain":
        path.write_bytes(pickle.dumps(content["config"]))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    for read in (load_inertly, load_checkpoint):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        assert "\n" not in str(caught.value)
    assert not victim.exists()


def test_a_function_of_an_unknown_module_is_never_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("stranger")
    exec("def strike(path):\n    open(path, 'w').close()", module.__dict__)
    monkeypatch.setitem(sys.modules, "stranger", module)
    torch.save(
        {"state_dict": WEIGHTS, "config": Calls(module.__dict__["strike"], str(tmp_path / "v"))}, tmp_path / "s.pth"
    )
    assert isinstance(load_inertly(tmp_path / "s.pth")["config"], InertRecord)
    assert not (tmp_path / "v").exists()


def test_a_program_archive_is_refused(tmp_path: Path) -> None:
    import zipfile  # noqa: PLC0415

    with zipfile.ZipFile(tmp_path / "script.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
        archive.writestr("archive/constants.pkl", b"")
    with pytest.raises(CheckpointError, match="TorchScript"):
        load_inertly(tmp_path / "script.pth")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"\x80\x02}q\x00."])
def test_what_is_no_checkpoint_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_inertly(tmp_path / "x.pth")
    assert "\n" not in str(caught.value)
