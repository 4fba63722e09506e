"""Pickled checkpoints are read as data: nothing in them runs."""

from __future__ import annotations

import argparse
import datetime
import io
import logging
import os
import pickle
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from utils.files.checkpoint import CheckpointError, load_checkpoint, read_weights
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


def program() -> bytes:
    """A TorchScript archive as torch writes it."""
    packed = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), packed)
    return packed.getvalue()


@pytest.mark.parametrize("hidden_by", ["nothing", "a plain pickle", "torch's old format", "a checkpoint"])
def test_a_real_program_is_refused_wherever_it_stands(tmp_path: Path, hidden_by: str) -> None:
    """torch takes the last archive of a file, whatever stands before it, and runs it if it looks like a program."""
    path, script = tmp_path / "script.pth", program()
    torch.save({"state_dict": WEIGHTS}, path, _use_new_zipfile_serialization=hidden_by == "a checkpoint")
    before = {"nothing": b"", "a plain pickle": pickle.dumps({"state_dict": {}}, protocol=2)}
    before |= dict.fromkeys(("torch's old format", "a checkpoint"), path.read_bytes())
    for padding in (0, 68_000):
        path.write_bytes(before[hidden_by] + bytes(padding if before[hidden_by] else 0) + script)
        for read in (load_inertly, load_checkpoint, read_weights):
            with pytest.raises(CheckpointError) as caught:
                read(path)
            assert "\n" not in str(caught.value)
    assert hidden_by != "nothing" or "TorchScript" in str(caught.value)


def test_records_of_the_standard_librarys_data_and_numbers_of_numpy_are_read(tmp_path: Path) -> None:
    numbers = [np.float32(0.5), np.int64(-3), np.bool_(True), np.array([258], ">i2")[0]]
    objects = [Path("a/b"), logging.getLogger("x"), datetime.timedelta(days=2), argparse.Namespace(lr=0.1)]
    torch.save({"state_dict": WEIGHTS, "numbers": numbers, "objects": objects}, tmp_path / "x.pth")
    content = load_inertly(tmp_path / "x.pth")
    assert content["numbers"] == [0.5, -3, True, 258]
    assert [type(record).__name__ for record in content["objects"]] == [
        "PosixPath",
        "getLogger",
        "timedelta",
        "Namespace",
    ]
    assert all(isinstance(record, InertRecord) for record in content["objects"])
    assert vars(content["objects"][3]) == {"lr": 0.1}


@pytest.mark.parametrize("value", [np.array(["x"])[0], np.datetime64("2020-01-01"), np.array([object()], object)])
def test_what_numpy_holds_besides_numbers_is_refused(tmp_path: Path, value: Any) -> None:
    torch.save({"state_dict": WEIGHTS, "value": value}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="can't be converted"):
        load_inertly(tmp_path / "x.pth")


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_pickles_that_the_restricted_reader_does_not_know_are_refused(tmp_path: Path, protocol: int) -> None:
    """Later protocols name a class by what lies on the stack, where nobody can list it before."""
    victim = tmp_path / "victim"
    for form in (True, False):
        torch.save(
            {"state_dict": WEIGHTS, "x": Calls(os.mkdir, str(victim))},
            tmp_path / "x.pth",
            pickle_protocol=protocol,
            _use_new_zipfile_serialization=form,
        )
        for read in (load_inertly, load_checkpoint):
            with pytest.raises(CheckpointError):
                read(tmp_path / "x.pth")
    assert not victim.exists()


def test_nothing_stays_admitted_after_a_file_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(torch.serialization.get_safe_globals())
    save_as_published(tmp_path / "old.pth", monkeypatch)
    load_inertly(tmp_path / "old.pth")
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_program_archive_is_refused(tmp_path: Path) -> None:
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
