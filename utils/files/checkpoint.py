"""Checkpoint files: whole or absent, checked by a digest inside, read without executing anything.

A checkpoint is an ordinary `torch.save` archive that any `torch.load(path, weights_only=True)` reads. Its SHA-256
stands in the archive's zip comment, so that a damaged file is recognised before anything is taken from it. Archives of
others are checked by their entries' checksums.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.errors import CheckpointError
from utils.files.checkpoint_schema import FORMAT_VERSION, check_structure
from utils.files.reading import read_regular_file
from utils.files.torch_archive import COMMENT_LENGTH, END_RECORD, END_RECORD_LENGTH, MARK, is_zip, sound_digest
from utils.files.writing import write_bytes

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "file_digest",
    "load_checkpoint",
    "read_checkpoint",
    "read_weights",
    "save_checkpoint",
    "unpickle",
    "without_parallel_prefix",
]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it was read, in one go.

    Attributes:
        content: its tensors, on the CPU, and plain data.
        digest: SHA-256, in hexadecimal, of the very bytes that the content was taken from.
    """

    content: dict[str, Any]
    digest: str


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint of tensors and plain data atomically, with its digest and format version inside."""
    buffer = io.BytesIO()
    torch.save({"format_version": FORMAT_VERSION, **content}, buffer)
    archive = buffer.getvalue()
    assert archive[-END_RECORD_LENGTH:].startswith(END_RECORD), (
        "torch.save ends its archive with a zip end record without comment"
    )
    body = archive[:-2]
    digest = hashlib.sha256(body).hexdigest().encode()
    write_bytes(path, body + struct.pack("<H", COMMENT_LENGTH) + MARK + digest)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint; see `read_checkpoint`."""
    return read_checkpoint(path).content


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU with `weights_only=True`, after its digest or checksums have been verified.

    Raises:
        CheckpointError: the file is missing, truncated or damaged, holds pickled objects, or is no checkpoint.
    """
    content, digest = _read(path)
    check_structure(content, path)
    return Checkpoint(content, digest)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint, or the file's own content where that is one; read as checkpoints are.

    Raises:
        CheckpointError: as for `read_checkpoint`, or the file holds neither.
    """
    content, _ = _read(path)
    if isinstance(content, dict) and "state_dict" not in content:
        if not content or not all(isinstance(value, Tensor) for value in content.values()):
            raise CheckpointError(f"{path}: neither a checkpoint nor a state dict (names of tensors)")
        content = {"state_dict": content}
    check_structure(content, path)
    return content["state_dict"]


def _read(path: Path) -> tuple[Any, str]:
    """What a file holds, and its SHA-256."""
    archive = read_regular_file(path, "checkpoint", error=CheckpointError)
    digest = sound_digest(archive, path)
    try:
        return unpickle(archive, path), digest
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: refused or damaged: it holds more than tensors and plain data, and such is never executed here; "
            "a published checkpoint is converted by: python -m tools.convert_checkpoint OLD NEW"
        ) from None


def unpickle(archive: bytes, path: Path) -> Any:
    """What torch's restricted reader takes from the bytes of a sound file.

    Raises:
        pickle.UnpicklingError: there is something in it that the reader does not admit.
        CheckpointError: it is damaged, or followed by something else.
    """
    buffer = io.BytesIO(archive)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on foreign archives; what matters is raised
            content = torch.load(buffer, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise
    except Exception:  # torch raises half a dozen kinds for a truncated archive, and tells of its insides
        raise CheckpointError(f"{path}: cut short or damaged") from None
    if not is_zip(archive) and buffer.tell() != len(archive):
        raise CheckpointError(f"{path}: refused: something is appended to it")
    return content


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def without_parallel_prefix(state_dict: dict[str, Any]) -> dict[str, Any]:
    """A model's state dict without the `module.` that DataParallel puts before every name."""
    return {name.removeprefix("module."): value for name, value in state_dict.items()}
