"""Checkpoint files: whole or absent, checked by a digest inside, read without executing anything.

A checkpoint is an ordinary `torch.save` archive that any `torch.load(path, weights_only=True)` reads. Its SHA-256
stands in the archive's zip comment, so that a damaged file is recognised before anything is taken from it.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import warnings
from pathlib import Path
from typing import Any

import torch

from utils.errors import UserError
from utils.files.writing import write_bytes

FORMAT_VERSION = 1
_MARK = b"sha256:"
_COMMENT_LENGTH = len(_MARK) + 64
_BEGINNINGS = (b"PK", b"\x80")  # of what torch.save writes: a zip archive, formerly pickles one after the other
_END_RECORD, _END_RECORD_LENGTH = b"PK\x05\x06", 22  # of a zip archive; its last two bytes announce the comment


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, or not one of ours."""


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint of tensors and plain data atomically, with its digest and format version inside."""
    buffer = io.BytesIO()
    torch.save({"format_version": FORMAT_VERSION, **content}, buffer)
    archive = buffer.getvalue()
    assert archive[-_END_RECORD_LENGTH:].startswith(_END_RECORD), (
        "torch.save ends its archive with a zip end record without comment"
    )
    body = archive[:-2]
    digest = hashlib.sha256(body).hexdigest().encode()
    write_bytes(path, body + struct.pack("<H", _COMMENT_LENGTH) + _MARK + digest)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU with `weights_only=True`, its digest verified where it carries one.

    Raises:
        CheckpointError: the file is missing, truncated or damaged, holds pickled objects, or is no checkpoint.
    """
    try:
        archive = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror}") from None
    if not archive:
        raise CheckpointError(f"{path}: the file is empty")
    if not _is_intact(archive):
        raise CheckpointError(f"{path}: damaged: its content does not match the digest inside")
    if not archive.startswith(_BEGINNINGS):
        raise CheckpointError(f"{path}: no checkpoint (not a file that torch.save wrote)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on foreign archives; what matters is raised
            content = torch.load(io.BytesIO(archive), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: refused or damaged: it holds more than tensors and plain data, and such is never executed here; "
            "a published checkpoint is converted by: python -m tools.convert_checkpoint OLD NEW"
        ) from None
    except Exception:  # torch raises half a dozen kinds for a truncated archive, and tells of its insides
        raise CheckpointError(f"{path}: cut short or damaged") from None
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(f"{path}: no checkpoint: it holds no 'state_dict'")
    return content


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def without_parallel_prefix(state_dict: dict[str, Any]) -> dict[str, Any]:
    """A model's state dict without the `module.` that DataParallel puts before every name."""
    return {name.removeprefix("module."): value for name, value in state_dict.items()}


def _is_intact(archive: bytes) -> bool:
    """Whether the digest fits; a foreign archive carries none, and is only looked at for being cut short."""
    comment = archive[-_COMMENT_LENGTH:]
    body, length = archive[: -_COMMENT_LENGTH - 2], archive[-_COMMENT_LENGTH - 2 : -_COMMENT_LENGTH]
    if not comment.startswith(_MARK):
        end = archive.rfind(_END_RECORD, -_COMMENT_LENGTH - _END_RECORD_LENGTH)
        announced = archive[end + _END_RECORD_LENGTH - 2 : end + _END_RECORD_LENGTH]
        return end < 0 or int.from_bytes(announced, "little") == len(archive) - end - _END_RECORD_LENGTH
    fits = hashlib.sha256(body).hexdigest().encode() == comment[len(_MARK) :]
    return fits and length == struct.pack("<H", _COMMENT_LENGTH)
