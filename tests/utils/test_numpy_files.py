"""Arrays of other programs: read as they are, never unpickled, and refused in one line before memory is taken."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.odd_files import ODD_KINDS, put_odd
from utils.errors import UserError
from utils.files.numpy_files import MOST_BYTES, read_numpy

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


class Tripwire:
    """Unpickling it would be seen."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was unpickled",))


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def refusal(path: Path, key: str | None = None) -> str:
    with pytest.raises(UserError) as refused:
        read_numpy(path, "file of logits", key=key)
    told = str(refused.value)
    assert "\n" not in told
    assert told.startswith(str(path))
    return told.removeprefix(f"{path}: ")


@pytest.mark.parametrize("array", [ARRAY, np.asfortranarray(ARRAY), np.array(["a", "bc"]), np.arange(3)])
def test_an_array_is_read_as_it_was_saved(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "b.npz", only=array)
    for name in ("a.npy", "b.npz"):
        found = read_numpy(tmp_path / name, "file of logits")
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)


def test_one_of_several_arrays_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, logits=ARRAY, labels=np.array([1, 0]))
    assert np.array_equal(read_numpy(path, "file of logits", key="labels"), [1, 0])
    assert refusal(path) == "holds several arrays; name one with --key: logits, labels"
    assert refusal(path, "logit") == "holds no array 'logit'; did you mean 'logits'?"
    np.savez(path)
    assert refusal(path) == "holds no array"
    np.save(tmp_path / "b.npy", ARRAY)
    assert refusal(tmp_path / "b.npy", "x") == "--key names an array of a .npz file, and this is none"


def test_pickles_stay_closed(tmp_path: Path) -> None:
    objects = np.array([Tripwire(), Tripwire()], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=objects)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Tripwire()))
    assert refusal(tmp_path / "a.npy") == "holds pickled Python objects, which are not read; save plain numbers"
    assert "holds pickled Python objects" in refusal(tmp_path / "a.npz")
    assert "can't be read as a file of logits" in refusal(tmp_path / "b.npy")


def test_structures_are_no_plain_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3, dtype=[("x", "f4")]))
    assert "no plain numbers" in refusal(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.zeros(3, dtype=complex))
    assert "no plain numbers" in refusal(tmp_path / "a.npy")


def test_a_header_that_promises_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    content = npy(ARRAY).replace(b"(2, 3), }", b"(2, 3000000000000), }").replace(b" " * 12 + b"\n", b"\n")
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    for name in ("a.npy", "a.npz"):
        assert "is damaged" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"\x93NUMPY", b"PK\x03\x04" + b"x" * 50, npy(ARRAY)[:-1], b"1,2\n3,4\n"]
)
def test_what_is_no_array_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    assert refusal(tmp_path / "a.npy")


def test_a_changed_byte_in_an_archive_is_noticed(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=ARRAY)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.index(ARRAY.tobytes()) + 5] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    assert "can't be read" in refusal(tmp_path / "a.npz")


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    put_odd(tmp_path / "a.npy", kind)
    assert ODD_KINDS[kind] in refusal(tmp_path / "a.npy")


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        file.truncate(MOST_BYTES + 1)  # a hole: no disk is used
    assert "too many for a file of logits" in refusal(tmp_path / "a.npy")
