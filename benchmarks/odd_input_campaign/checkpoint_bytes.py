"""Damage to a checkpoint's bytes, and other things in its place."""

from __future__ import annotations

import io
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.odd_input_campaign.config_files import NO_FILES, no_file

CANARY = "canary"
"""A file that appears where something of a checkpoint was executed."""


class Attack:
    """Unpickled, it would write a file."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return eval, (f"open({CANARY!r}, 'w').close()",)


class _Program(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def saved(content: Any, **how: Any) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def torchscript() -> bytes:
    """A TorchScript archive, which is a program."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(_Program()), buffer)
    return buffer.getvalue()


def _rezipped(data: bytes, change: Callable[[dict[str, bytes]], None], **how: Any) -> bytes:
    """The archive written again by another program, its entries changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **how) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _with_entry(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(entries: dict[str, bytes]) -> None:
        entries[f"{next(iter(entries)).partition('/')[0]}/{name}"] = content

    return change


def _without_weights(entries: dict[str, bytes]) -> None:
    for name in [name for name in entries if "/data/" in name]:
        del entries[name]


def _something_else(entries: dict[str, bytes]) -> None:
    entries.clear()
    entries["a.txt"] = b"x"


def _flipped(data: bytes, random_: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random_.choice([1, 1, 1, 2, 8])):
        place = random_.choice(
            [random_.randrange(len(data)), random_.randrange(200), len(data) - 1 - random_.randrange(400)]
        )
        changed[place] ^= 1 << random_.randrange(8)
    return bytes(changed) if changed != data else _flipped(data, random_)


def _flipped_weights(data: bytes, random_: random.Random) -> bytes:
    """A bit of a tensor's data in an archive without our digest: the entry's checksum tells."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entry = random_.choice(
            [entry for entry in archive.infolist() if "/data/" in entry.filename and entry.file_size > 8]
        )
        content = archive.read(entry)
    place = data.index(content) + random_.randrange(len(content))
    return data[:place] + bytes([data[place] ^ (1 << random_.randrange(8))]) + data[place + 1 :]


def _swapped(data: bytes, random_: random.Random) -> bytes:
    """Two blocks change places."""
    size = random_.choice([1, 64, 4096])
    first, second = sorted(random_.sample(range(0, len(data) - size, size), 2))
    one, two = data[first : first + size], data[second : second + size]
    changed = data[:first] + two + data[first + size : second] + one + data[second + size :]
    return changed if changed != data else _flipped(data, random_)


def _zeroed(data: bytes, random_: random.Random) -> bytes:
    size, place = random_.choice([16, 512, 100_000]), random_.randrange(len(data))
    changed = (data[:place] + b"\0" * size + data[place + size :])[: len(data)]
    return changed if changed != data else _flipped(data, random_)


_DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bits flipped": _flipped,
    "bits flipped ": _flipped,
    "blocks swapped": _swapped,
    "a block of zeros": _zeroed,
    "cut short": lambda data, random_: data[: random_.choice([random_.randrange(len(data)), len(data) - 1, 1, 4, 30])],
    "without its beginning": lambda data, random_: data[random_.choice([1, 4, 64, 1000]) :],
    "bytes appended": lambda data, random_: data + random_.randbytes(random_.choice([1, 22, 4096, 68_000])),
    "zeros appended": lambda data, random_: data + b"\0" * random_.choice([1, 512, 70_000]),
    "bytes before": lambda data, random_: random_.randbytes(random_.choice([1, 22, 4096])) + data,
    "a shell script before": lambda data, _: b"#!/bin/sh\nexit 0\n" + data,
    "twice": lambda data, _: data + data,
    "another archive behind": lambda data, _: data + saved({"state_dict": {}}),
    "another archive before": lambda data, _: saved({"state_dict": {}}) + data,
    "a TorchScript archive behind": lambda data, _: data + torchscript(),
    "a TorchScript archive before": lambda data, _: torchscript() + data,
    "a TorchScript archive": lambda data, _: torchscript(),
    "an archive behind a pickle": lambda data, _: pickle.dumps({"state_dict": {}}) + data,
    "a pickle": lambda data, _: pickle.dumps({"state_dict": {}, "config": {}}),
    "a pickle that acts": lambda data, _: pickle.dumps(Attack()),
    "a pickle that acts, with an archive behind": lambda data, _: pickle.dumps(Attack(), protocol=2) + torchscript(),
    "compressed": lambda data, _: _rezipped(data, lambda entries: None, compression=zipfile.ZIP_DEFLATED),
    "an entry more": lambda data, _: _rezipped(data, _with_entry("code/__torch__.py", b"x = 1")),
    "constants": lambda data, _: _rezipped(data, _with_entry("constants.pkl", pickle.dumps(Attack()))),
    "an entry of another name": lambda data, _: _rezipped(data, _with_entry("../../etc/x", b"x")),
    "an entry replaced": lambda data, _: _rezipped(data, _with_entry("data.pkl", pickle.dumps(Attack(), protocol=2))),
    "without entries": lambda data, _: _rezipped(data, lambda entries: entries.clear()),
    "without weights": lambda data, _: _rezipped(data, _without_weights),
    "a zip of something else": lambda data, _: _rezipped(data, _something_else),
    "empty": lambda data, _: b"",
    "a text": lambda data, random_: random_.choice(
        [b"{}", b"\n", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", b"<html>"]
    ),
    "bytes": lambda data, random_: (
        random_.choice([b"", b"PK\x03\x04", b"\x80\x02", b"\x1f\x8b"]) + random_.randbytes(random_.choice([3, 5000]))
    ),
    "the end record alone": lambda data, _: data[-200:],
}
_PLAIN_DAMAGES: dict[str, Callable[[Any, random.Random], bytes]] = {
    "plain torch.save, a weight's bit flipped": lambda content, random_: _flipped_weights(saved(content), random_),
    "plain torch.save, cut short": lambda content, random_: (data := saved(content))[: random_.randrange(len(data))],
    "plain torch.save, bytes appended": lambda content, random_: saved(content) + random_.randbytes(68_000),
    "the old format, bytes appended": lambda content, random_: (
        saved(content, _use_new_zipfile_serialization=False) + b"\0" * 100
    ),
    "the old format, a TorchScript archive behind": lambda content, _: (
        saved(content, _use_new_zipfile_serialization=False) + torchscript()
    ),
    "the old format, cut short": lambda content, random_: (
        data := saved(content, _use_new_zipfile_serialization=False)
    )[: random_.randrange(len(data) - 1)],
}


def damage(file: Path, random_: random.Random) -> str:
    """Damage a checkpoint so that no reader may take it; says how."""
    if random_.random() < 0.2:
        what, change = random_.choice(sorted(_PLAIN_DAMAGES.items()))
        file.write_bytes(change(torch.load(file, weights_only=True), random_))
        return what
    what, alter = random_.choice(sorted(_DAMAGES.items()))
    file.write_bytes(alter(file.read_bytes(), random_))
    return what


def replace(file: Path, random_: random.Random) -> str:
    """Put what is no regular file in its place; says what."""
    kind = random_.choice(NO_FILES)
    file.unlink()
    no_file(file, kind)
    return f"a {kind} in its place"
