"""Checkpoint files: whole or refused, readable by plain torch, and never executed."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from utils.errors import UserError
from utils.files.checkpoint import (
    CheckpointError,
    file_digest,
    load_checkpoint,
    save_checkpoint,
    without_parallel_prefix,
)


def content() -> dict[str, Any]:
    return {
        "state_dict": OrderedDict(
            weight=torch.arange(12, dtype=torch.float32).view(3, 4) / 7,
            half=torch.tensor([1.5, -2.25], dtype=torch.bfloat16),
            count=torch.tensor(5),
            mask=torch.tensor([True, False]),
            images=torch.arange(5, dtype=torch.uint8),
        ),
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2), "step": 3}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 7,
        "monitor_best": 0.5,
        "config": {"name": "größe", "loss": {"tau": [0, 1.25, None, True]}},
    }


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict) and list(first) == list(second) and all(same(first[k], second[k]) for k in first)
        )
    if isinstance(first, list):
        return isinstance(second, list) and len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and first == second


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small checkpoint's bytes."""
    path = tmp_path_factory.mktemp("checkpoint") / "small.pth"
    save_checkpoint(path, {"state_dict": {"weight": torch.arange(9.0)}, "epoch": 3})
    return path.read_bytes()


def is_refused_or_right(path: Path) -> bool:
    """Whether the file is refused in one line that names it, or loads as what `archive` holds."""
    try:
        loaded = load_checkpoint(path)
    except CheckpointError as error:
        return str(error).startswith(f"{path}: ") and "\n" not in str(error)
    return same(loaded, {"format_version": 1, "state_dict": {"weight": torch.arange(9.0)}, "epoch": 3})


# --- round trip -------------------------------------------------------------------------------------------------


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "checkpoint-epoch7.pth"
    save_checkpoint(path, content())
    loaded = load_checkpoint(path)
    assert isinstance(loaded.pop("format_version"), int)
    assert same(loaded, content())


def test_plain_torch_reads_a_checkpoint_with_weights_only(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    save_checkpoint(path, content())
    loaded = torch.load(path, weights_only=True)
    assert same({name: loaded[name] for name in content()}, content())


def test_a_checkpoint_is_a_sound_zip_whose_comment_is_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    save_checkpoint(path, content())
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        comment = file.comment
    assert comment == b"sha256:" + hashlib.sha256(path.read_bytes()[: -len(comment) - 2]).hexdigest().encode()


def test_tensors_come_back_on_the_cpu(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pth", content())
    assert load_checkpoint(tmp_path / "c.pth")["state_dict"]["weight"].device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_checkpoint_of_a_gpu_loads_onto_the_cpu(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pth", {"state_dict": {"weight": torch.ones(3, device="cuda")}})
    assert load_checkpoint(tmp_path / "c.pth")["state_dict"]["weight"].device.type == "cpu"


def test_a_failed_save_leaves_the_earlier_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    save_checkpoint(path, content())
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        save_checkpoint(path, {"state_dict": {}, "bad": lambda: None})
    assert load_checkpoint(path)["epoch"] == 7
    assert list(tmp_path.iterdir()) == [path]


# --- damage -----------------------------------------------------------------------------------------------------


def test_a_checkpoint_cut_at_any_length_is_refused_or_complete(tmp_path: Path, archive: bytes) -> None:
    path = tmp_path / "cut.pth"
    lengths = [*range(0, len(archive) - 200, 37), *range(len(archive) - 200, len(archive))]
    for length in lengths:
        path.write_bytes(archive[:length])
        assert is_refused_or_right(path), length


def test_a_checkpoint_cut_before_its_end_record_is_refused(tmp_path: Path, archive: bytes) -> None:
    path = tmp_path / "cut.pth"
    for length in (4, 100, len(archive) // 2, len(archive) - 100):
        path.write_bytes(archive[:length])
        with pytest.raises(CheckpointError, match="damaged"):
            load_checkpoint(path)


def test_a_flipped_bit_is_never_loaded_as_other_content(tmp_path: Path, archive: bytes) -> None:
    path = tmp_path / "flipped.pth"
    draw = random.Random(0)
    refused = 0
    for position in range(0, len(archive), 3):
        damaged = bytearray(archive)
        damaged[position] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        assert is_refused_or_right(path), position
    for position in (0, 5, len(archive) // 3, len(archive) // 2, len(archive) - 1, len(archive) - 80):
        damaged = bytearray(archive)
        damaged[position] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged: its content does not match the digest"):
            load_checkpoint(path)
        refused += 1
    assert refused == 6


def test_overwritten_and_lengthened_files_are_refused_or_right(tmp_path: Path, archive: bytes) -> None:
    path = tmp_path / "odd.pth"
    draw = random.Random(1)
    for _ in range(60):
        start = draw.randrange(len(archive))
        end = min(len(archive), start + draw.randrange(1, 200))
        path.write_bytes(archive[:start] + draw.randbytes(end - start) + archive[end:])
        assert is_refused_or_right(path), (start, end)
        path.write_bytes(archive + draw.randbytes(draw.randrange(1, 100)))
        assert is_refused_or_right(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the file is empty"),
        (b"i\n", "no checkpoint (not a file that torch.save wrote)"),
        (b"<html>404</html>\n", "no checkpoint (not a file that torch.save wrote)"),
        (b"PK\x03\x04" + bytes(300), "cut short or damaged"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_plainly(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "odd.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == f"{path}: {told}"


def test_checkpoints_of_others_that_are_cut_short_are_told(tmp_path: Path) -> None:
    path = tmp_path / "foreign.pth"
    for new_format in (True, False):
        torch.save(content(), path, _use_new_zipfile_serialization=new_format)
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(CheckpointError, match=r"foreign\.pth: cut short or damaged$"):
            load_checkpoint(path)


@pytest.mark.parametrize("junk", [b"", b"junk", b"PK\x03\x04" + b"\0" * 100, b"\x80\x02}q\x00.", b"{}\n"])
def test_what_is_no_archive_is_refused_in_one_line(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "junk.pth"
    path.write_bytes(junk)
    with pytest.raises(CheckpointError, match=r"junk\.pth: ") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "nowhere.pth")
    with pytest.raises(CheckpointError, match="can't be read"):
        load_checkpoint(tmp_path)
    assert issubclass(CheckpointError, UserError)


@pytest.mark.parametrize("other", [{"weight": torch.ones(1)}, [1, 2], torch.ones(2), {}])
def test_an_archive_of_something_else_is_no_checkpoint(tmp_path: Path, other: Any) -> None:
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="holds no 'state_dict'"):
        load_checkpoint(tmp_path / "other.pth")


# --- code in checkpoints ----------------------------------------------------------------------------------------


class Harmful:
    """Pickles as a call of some function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def harmful_objects(target: Path) -> list[Harmful]:
    return [
        Harmful(os.mkdir, str(target)),
        Harmful(os.system, f"mkdir {target}"),
        Harmful(eval, f"__import__('os').mkdir({str(target)!r})"),
        Harmful(exec, f"import os; os.mkdir({str(target)!r})"),
        Harmful(Path.mkdir, target),
    ]


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("place", ["state_dict", "config", "extra"])
def test_a_checkpoint_with_a_call_inside_is_refused_and_not_executed(tmp_path: Path, kind: int, place: str) -> None:
    target = tmp_path / "executed"
    checkpoint = {"state_dict": {"weight": torch.ones(2)}, "config": {}} | {place: harmful_objects(target)[kind]}
    own, foreign = tmp_path / "own.pth", tmp_path / "foreign.pth"
    save_checkpoint(own, checkpoint)
    torch.save(checkpoint, foreign)
    for path in (own, foreign):
        with pytest.raises(CheckpointError, match="never executed"):
            load_checkpoint(path)
        assert not target.exists()
    torch.load(foreign, weights_only=False)
    assert target.exists()  # the trap does work where it is sprung


def test_a_bare_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    for index, harmful in enumerate(harmful_objects(target)):
        path = tmp_path / f"{index}.pth"
        path.write_bytes(pickle.dumps({"state_dict": harmful}, protocol=2))
        with pytest.raises(CheckpointError):
            load_checkpoint(path)
        assert not target.exists()


# --- checkpoints of others --------------------------------------------------------------------------------------


def test_a_foreign_checkpoint_without_digest_loads(tmp_path: Path) -> None:
    torch.save(content(), tmp_path / "foreign.pth")
    assert same(load_checkpoint(tmp_path / "foreign.pth"), content())


def test_a_checkpoint_of_torchs_old_format_loads(tmp_path: Path) -> None:
    torch.save(content(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(load_checkpoint(tmp_path / "old.pth")["state_dict"], content()["state_dict"])


def test_the_prefix_of_parallel_models_is_taken_off_once_and_only_in_front() -> None:
    names = ["module.backbone.conv1.weight", "backbone.module.weight", "module.module.x", "submodule.y", "module"]
    stripped = without_parallel_prefix({name: index for index, name in enumerate(names)})
    assert list(stripped.items()) == [
        ("backbone.conv1.weight", 0),
        ("backbone.module.weight", 1),
        ("module.x", 2),
        ("submodule.y", 3),
        ("module", 4),
    ]


def test_a_files_digest_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert file_digest(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
