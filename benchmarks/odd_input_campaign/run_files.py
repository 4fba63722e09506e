"""Odd files beside a checkpoint: predictions, results, and a configuration of the log."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.odd_input_campaign.cases import Case
from benchmarks.odd_input_campaign.checkpoint_bytes import CANARY, Attack
from benchmarks.odd_input_campaign.config_files import NO_FILES, no_file

_TEST = ["-r", "run/checkpoint-epoch1.pth"]


def _npz(arrays: dict[str, Any], **how: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, **how)
    return buffer.getvalue()


def _with(**changes: Any) -> Callable[[bytes, random.Random], bytes]:
    def change(data: bytes, random_: random.Random) -> bytes:
        with np.load(io.BytesIO(data)) as content:
            arrays = {name: content[name] for name in content.files}
        return _npz({name: value for name, value in {**arrays, **changes}.items() if value is not None})

    return change


_PREDICTIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut short": lambda data, random_: data[: random_.randrange(len(data))],
    "bits flipped": lambda data, random_: bytes(byte ^ (random_.random() < 0.01) for byte in data),
    "empty": lambda data, _: b"",
    "noise": lambda data, random_: random_.randbytes(500),
    "nothing in it": lambda data, _: _npz({}),
    "objects": _with(weights=np.array([Attack()], dtype=object)),
    "another fingerprint": _with(fingerprint="x"),
    "no fingerprint": _with(fingerprint=None),
    "no logits": _with(logits_raw=None),
    "no targets": _with(targets=None),
    "an array": lambda data, _: (buffer := io.BytesIO(), np.save(buffer, np.zeros(3)))[0].getvalue(),
    "an array of objects": lambda data, _: (
        buffer := io.BytesIO(),
        np.save(buffer, np.array([Attack()]), allow_pickle=True),
    )[0].getvalue(),
    "a text": lambda data, _: b"{}",
}
_RESULTS: dict[str, bytes] = {
    "empty": b"",
    "half": b'{"results": [{"checkpoint": ',
    "null": b"null",
    "a list": b"[]",
    "no results": b"{}",
    "results of another type": b'{"results": 5}',
    "rows of another type": b'{"results": [1, null, "x", [], {}]}',
    "rows of odd values": b'{"results": [{"checkpoint": 5, "distribution": [], "accuracy": "x", "per_class": 7}]}',
    "a row of a list": b'{"results": [{"checkpoint": ["a"], "protocol": {"b": 1}, "predictor": null}]}',
    "NaN": b'{"results": [{"checkpoint": "a", "accuracy": NaN, "ece": Infinity}]}',
    "a number of 5,000 digits": b'{"results": [{"checkpoint": "a", "accuracy": ' + b"9" * 5000 + b"}]}",
    "deep": b'{"results": ' + b"[" * 100_000,
    "a huge shift": b'{"results": [{"checkpoint": "a", "distribution": "forward' + b"9" * 400 + b'"}]}',
    "a byte order mark": b'\xef\xbb\xbf{"results": []}',
    "Latin-1": b'{"results": [{"checkpoint": "\xfc"}]}',
    "half of a letter": b'{"results": [{"checkpoint": "\\ud800", "distribution": "\\udfff"}]}',
    "zeros": b"\0" * 500,
    "a future row": b'{"results": [{"checkpoint": "a", "protocol": "new", "more": {"a": [1, 2]}}]}',
}
_LOGS: dict[str, tuple[bytes, bool]] = {
    "the least": (b'{"version": 1}', True),
    "a handler": (
        b'{"version": 1, "handlers": {"h": {"class": "logging.StreamHandler"}}, "root": {"handlers": ["h"]}}',
        True,
    ),
    "a file": (
        b'{"version": 1, "handlers": {"h": {"class": "logging.FileHandler", "filename": "my.log"}}, '
        b'"root": {"handlers": ["h"]}}',
        True,
    ),
    "empty": (b"", False),
    "no object": (b"[]", False),
    "null": (b"null", False),
    "no version": (b"{}", False),
    "another version": (b'{"version": 2}', False),
    "handlers of another type": (b'{"version": 1, "handlers": []}', False),
    "a handler of another type": (b'{"version": 1, "handlers": {"h": 5}}', False),
    "an unknown class": (b'{"version": 1, "handlers": {"h": {"class": "no.such.Handler"}}}', False),
    "a filename of another type": (
        b'{"version": 1, "handlers": {"h": {"class": "logging.FileHandler", "filename": 5}}}',
        False,
    ),
    "an unknown level": (b'{"version": 1, "root": {"level": "LOUD"}}', False),
    "an unknown handler": (b'{"version": 1, "root": {"handlers": ["x"]}}', False),
    "bytes": (b"\xff\xfe\x00", False),
    "deep": (b"[" * 100_000, False),
    "a number of 5,000 digits": (b'{"version": ' + b"1" * 5000 + b"}", False),
}


def beside_a_checkpoint(material: Path, random_: random.Random, folder: Path) -> Case:
    """Predictions or results that are not ours: the network runs again, the results are ours afterwards."""
    shutil.copytree(material / random_.choice(["plain", "averaged"]), folder / "run")
    command = random_.choice(["test", "test_all_cifar"])
    if random_.random() < 0.5:
        odd = folder / "run/checkpoint-epoch1.predictions.npz"
        what, change = random_.choice(sorted(_PREDICTIONS.items()))
        odd.write_bytes(change(odd.read_bytes(), random_))
        told = f"predictions: {what}"
    else:
        odd = folder / "run/results.json"
        what = random_.choice(sorted(_RESULTS))
        odd.write_bytes(_RESULTS[what])
        told = f"results.json: {what}"
    done = ("run/results.json",)
    return Case(what=f"{command}: {told}", legal=True, command=command, flags=_TEST, json_files=done, absent=(CANARY,))


def no_file_beside(material: Path, random_: random.Random, folder: Path) -> Case:
    """What is no file in the place of predictions or results; the evaluation may go on or refuse it."""
    shutil.copytree(material / "plain", folder / "run")
    name = random_.choice(
        ["results.json", "results.csv", "checkpoint-epoch1.predictions.npz", "info.log", ".lock", "run.json"]
    )
    (folder / "run" / name).unlink(missing_ok=True)
    kind = random_.choice(NO_FILES)
    no_file(folder / "run" / name, kind)
    command = random_.choice(["test", "test_all_cifar", "train"])
    return Case(what=f"{command}: {name} is a {kind}", legal=None, command=command, flags=_TEST)


def log_configuration(material: Path, random_: random.Random, folder: Path) -> Case:
    """A file for `-l`."""
    shutil.copytree(material / "plain", folder / "run")
    if random_.random() < 0.25:
        what, legal = random_.choice(NO_FILES), False
        no_file(folder / "log.json", what)
    else:
        what = random_.choice(sorted(_LOGS))
        content, legal = _LOGS[what]
        (folder / "log.json").write_bytes(content)
    command = random_.choice(["test", "train"])
    if command == "test" and "filename" in what:
        legal = None  # where nothing is written, no file's name is looked at
    return Case(what=f"{command} -l: {what}", legal=legal, command=command, flags=[*_TEST, "-l", "log.json"])
