"""Odd list files, files in CIFAR's format, and files of a class prior."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.odd_input_campaign.cases import Case
from benchmarks.odd_input_campaign.checkpoint_bytes import CANARY, Attack
from benchmarks.odd_input_campaign.config_files import NO_FILES, no_file
from benchmarks.odd_input_campaign.image_files import picture, tree
from benchmarks.odd_input_campaign.material import CLASSES, tiny_recipe

_Lines = list[str]
_LEGAL_LISTS: dict[str, Callable[[_Lines], bytes]] = {
    "plain": lambda lines: "".join(f"{line}\n" for line in lines).encode(),
    "CRLF": lambda lines: "".join(f"{line}\r\n" for line in lines).encode(),
    "a byte order mark": lambda lines: "\ufeff".encode() + "\n".join(lines).encode(),
    "tabs": lambda lines: "\n".join(line.replace(" ", "\t") for line in lines).encode(),
    "no last line break": lambda lines: "\n".join(lines).encode(),
    "blank lines": lambda lines: ("\n\n  \n" + "\n\n".join(lines) + "\n\t\n").encode(),
    "blanks around": lambda lines: "".join(f"  {line} \n" for line in lines).encode(),
    "./ before the paths": lambda lines: "".join(f"./{line}\n" for line in lines).encode(),
    "shuffled": lambda lines: "".join(f"{line}\n" for line in reversed(lines)).encode(),
}
_WRONG_LINES: dict[str, str] = {
    "label −1": "ash/0.png -1",
    "label C": "ash/0.png 3",
    "label 1.0": "ash/0.png 1.0",
    "a wide digit": "ash/0.png １",
    "a raised digit": "ash/0.png ²",
    "a label of 5,000 digits": f"ash/0.png {'1' * 5000}",
    "a label of 5,000 zeros": f"ash/0.png {'0' * 5000}9",
    "no label": "ash/0.png",
    "a label alone": "2",
    "a word for a label": "ash/0.png ash",
    "NUL": "ash/0\0.png 1",
    "a million letters": f"{'x' * 1_000_000} 1",
    "an image that isn't there": "ash/none.png 1",
    "a folder": "ash 1",
    "+1": "ash/0.png +1",
    "an underscore": "ash/0.png 1_0",
    "a comma": "ash/0.png,1",
}
_KNOWN_ONLY_WITH_IMAGES = ("an image that isn't there", "a folder", "label C", "a label of 5,000 zeros", "Latin-1")
_WRONG_LISTS: dict[str, Callable[[_Lines], bytes]] = {
    "empty": lambda lines: b"",
    "blank": lambda lines: b"\n \n\t\n",
    "UTF-16": lambda lines: "\n".join(lines).encode("utf-16"),
    "Latin-1": lambda lines: ("\n".join(lines) + "\nü/1.png 1\n").encode("latin-1"),
    "bytes": lambda lines: bytes(range(256)) * 10,
    "zeros": lambda lines: b"\0" * 5000,
    "an image": lambda lines: b"\x89PNG\r\n\x1a\n" + bytes(100),
}


def lists(random_: random.Random, folder: Path) -> Case:
    """A list file: written otherwise, with a wrong line, broken as a whole, or no file."""
    tree(folder / "images", random_)
    lines = [
        f"{name}/{number}.png {label}" for label, name in enumerate(("ash", "beech", "cherry")) for number in range(5)
    ]
    for number, name in enumerate(("train", "test")):
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines[number::2]))
    recipe = tiny_recipe()
    recipe["arch"]["args"]["num_classes"] = 3
    args = {"train_txt": "train.txt", "test_txt": "test.txt", "num_classes": 3, "image_size": 16, "num_workers": 0}
    recipe["data_loader"] = {"type": "ImageListDataLoader", "args": {"data_dir": "images", "batch_size": 8, **args}}
    recipe["trainer"] |= {"epochs": 1, "validate": True}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    odd = folder / f"{random_.choice(['train', 'test'])}.txt"
    lines = odd.read_text().splitlines()
    kind = random_.choice(["legal", "legal", "line", "line", "line", "whole", "no file"])
    if kind == "legal":
        what = random_.choice(sorted(_LEGAL_LISTS))
        odd.write_bytes(_LEGAL_LISTS[what](lines))
    elif kind == "line":
        what = random_.choice(sorted(_WRONG_LINES))
        lines.insert(random_.randrange(len(lines)), _WRONG_LINES[what])
        odd.write_text("\n".join(lines), encoding="utf8")
    elif kind == "whole":
        what = random_.choice(sorted(_WRONG_LISTS))
        odd.write_bytes(_WRONG_LISTS[what](lines))
    else:
        what = random_.choice([*NO_FILES, "missing"])
        odd.unlink()
        if what != "missing":
            no_file(odd, what)
    return _list_case(f"{odd.name}: {what}", kind == "legal", what, odd.name, random_)


def _list_case(told: str, legal: bool, what: str, name: str, random_: random.Random) -> Case:
    command = random_.choice(["check", "train", "stats", "make-lt"])
    if command in ("stats", "make-lt") and what not in _KNOWN_ONLY_WITH_IMAGES:
        flags = (
            ["stats", name] if command == "stats" else ["make-lt", "--source", name, "--ratio", "2", "--out", "new.txt"]
        )
        return Case(what=f"lists {command}: {told}", legal=legal, command="lists", flags=flags, refusals=(1, 2))
    if command == "train":
        return Case(what=f"train: {told}", legal=legal, command="train", flags=["-c", "recipe.json"])
    flags = ["recipe.json", "--workers", "0"]
    return Case(what=f"check: {told}", legal=legal, command="check", flags=flags, refusals=(1, 2))


def _batch(random_: random.Random, images: int, labels: list[int]) -> dict[Any, Any]:
    pixels = np.stack(
        [np.asarray(picture(random_, size=(32, 32))).transpose(2, 0, 1).reshape(-1) for _ in range(images)]
    )
    return {"batch_label": "x", "labels": labels, "data": pixels, "filenames": ["x.png"] * images}


def _changed(**values: Any) -> Callable[[dict[Any, Any]], Any]:
    return lambda batch: {**batch, **values}


_LEGAL_BATCHES: dict[str, Callable[[dict[Any, Any]], Any]] = {
    "plain": lambda batch: batch,
    "labels as an array": lambda batch: {**batch, "labels": np.array(batch["labels"])},
    "fewer keys": lambda batch: {name: batch[name] for name in ("labels", "data")},
}
_WRONG_BATCHES: dict[str, Callable[[dict[Any, Any]], Any]] = {
    "pixels of 0 to 1": lambda batch: {**batch, "data": batch["data"] / 255},
    "pixels of nan": lambda batch: {**batch, "data": batch["data"] * np.nan},
    "pixels of 16 bits": lambda batch: {**batch, "data": batch["data"].astype(np.int64) * 200},
    "negative pixels": lambda batch: {**batch, "data": batch["data"].astype(np.int64) - 300},
    "text for pixels": _changed(data="x"),
    "no pixels": _changed(data=None),
    "pixels of another shape": lambda batch: {**batch, "data": batch["data"][:, :100]},
    "one image less": lambda batch: {**batch, "data": batch["data"][:-1]},
    "a label −1": lambda batch: {**batch, "labels": [-1, *batch["labels"][1:]]},
    "a label 10": lambda batch: {**batch, "labels": [10, *batch["labels"][1:]]},
    "a huge label": lambda batch: {**batch, "labels": [10**30, *batch["labels"][1:]]},
    "labels of text": lambda batch: {**batch, "labels": ["x"] * len(batch["labels"])},
    "a label of half": lambda batch: {**batch, "labels": [0.5] * len(batch["labels"])},
    "no labels": lambda batch: {"data": batch["data"]},
    "no batch": lambda batch: [batch],
    "nothing": lambda batch: None,
    "an action": lambda batch: Attack(),
    "an action beside": _changed(more=Attack()),
    "objects for pixels": lambda batch: {**batch, "data": batch["data"].astype(object)},
}
_WRONG_NAMES: list[Any] = [5, "abc", None, [1] * 10, {"a": 1}, [["a"]] * 10, Attack()]


def cifar(random_: random.Random, folder: Path) -> Case:
    """Files in CIFAR's format with other pixels, labels, names, or none at all."""
    place = folder / "data/cifar-10-batches-py"
    place.mkdir(parents=True)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    odd, kind = (
        random_.choice(names),
        random_.choice(["legal", "wrong", "wrong", "wrong", "damaged", "no file", "names"]),
    )
    what = ""
    for name in names:
        batch: Any = _batch(random_, 20, [label for label in range(10) for _ in range(2)])
        if name == odd and kind in ("legal", "wrong"):
            table = _LEGAL_BATCHES if kind == "legal" else _WRONG_BATCHES
            what = random_.choice(sorted(table))
            batch = table[what](batch)
        (place / name).write_bytes(pickle.dumps(batch, protocol=random_.choice([2, 4]) if kind == "legal" else 2))
    meta: Any = [f"kind {label}" for label in range(10)]
    if kind == "names":
        meta = random_.choice(_WRONG_NAMES)
        what = f"names {meta!r:.40}"
    (place / "batches.meta").write_bytes(pickle.dumps({"label_names": meta}))
    if kind == "damaged":
        data = (place / odd).read_bytes()
        what = random_.choice(["cut short", "empty", "noise", "missing"])
        (place / odd).write_bytes(
            {"cut short": data[: len(data) // 2], "empty": b"", "noise": random_.randbytes(999)}.get(what, b"")
        )
        if what == "missing":
            (place / odd).unlink()
    elif kind == "no file":
        what = random_.choice(NO_FILES)
        (place / odd).unlink()
        no_file(place / odd, what)
    recipe = tiny_recipe()
    recipe["data_loader"]["type"] = "ImbalanceCIFAR10DataLoader"
    recipe["data_loader"]["args"] |= {"data_dir": "data", "verify": False}
    recipe["trainer"]["epochs"] = 1
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return Case(
        what=f"CIFAR, {odd}: {what}",
        legal=kind == "legal",
        command="train",
        flags=["-c", "recipe.json"],
        absent=(CANARY,),
    )


_PRIOR = {str(label): 0.1 for label in range(CLASSES)}


def _csv(entries: dict[str, Any], separator: str = ",", header: str = "") -> bytes:
    return (header + "".join(f"{name}{separator}{value}\n" for name, value in entries.items())).encode()


_LEGAL_PRIORS: dict[str, tuple[str, bytes]] = {
    "CSV": ("p.csv", _csv(_PRIOR)),
    "CSV with a header": ("p.csv", _csv(_PRIOR, header="class,frequency\n")),
    "CSV, CRLF": ("p.csv", _csv(_PRIOR).replace(b"\n", b"\r\n")),
    "CSV with a byte order mark": ("p.csv", "\ufeff".encode() + _csv(_PRIOR)),
    "JSON": ("p.json", json.dumps(_PRIOR).encode()),
    "JSON, one class alone": ("p.json", json.dumps({**dict.fromkeys(_PRIOR, 0), "3": 1}).encode()),
    "a name with blanks": ("my prior ü.csv", _csv(_PRIOR)),
}
_WRONG_PRIORS: dict[str, tuple[str, bytes]] = {
    "empty": ("p.csv", b""),
    "empty JSON": ("p.json", b""),
    "negative": ("p.csv", _csv({**_PRIOR, "0": -0.1})),
    "nan": ("p.csv", _csv({**_PRIOR, "0": "nan"})),
    "NaN": ("p.json", json.dumps({**_PRIOR, "0": float("nan")}).encode()),
    "infinite": ("p.csv", _csv({**_PRIOR, "0": "inf"})),
    "text": ("p.csv", _csv({**_PRIOR, "0": "x"})),
    "all zero": ("p.csv", _csv(dict.fromkeys(_PRIOR, 0))),
    "a class missing": ("p.csv", _csv(dict.fromkeys(list(_PRIOR)[:-1], 0.1))),
    "a class too many": ("p.csv", _csv({**_PRIOR, "10": 0.1})),
    "a class twice": ("p.csv", _csv(_PRIOR) + b"0,0.1\n"),
    "a key twice": ("p.json", json.dumps(_PRIOR).encode()[:-1] + b', "0": 0.1}'),
    "three columns": ("p.csv", b"0,0.1,1\n"),
    "a number of 5,000 digits": ("p.json", json.dumps(_PRIOR).encode()[:-1] + b', "x": ' + b"9" * 5000 + b"}"),
    "a word": ("p.json", b'"known"'),
    "null": ("p.json", b"null"),
    "UTF-16": ("p.csv", _csv(_PRIOR).decode().encode("utf-16")),
    "zeros": ("p.csv", b"\0" * 1000),
    "deep": ("p.json", b"[" * 100_000),
}


def priors(material: Path, random_: random.Random, folder: Path) -> Case:
    """A file of a test prior for `test.py --prior`."""
    shutil.copytree(material / "plain", folder / "run")
    kind = random_.choice(["legal", "wrong", "wrong", "no file"])
    if kind == "no file":
        what, name = random_.choice([*NO_FILES, "missing"]), "p.csv"
        if what != "missing":
            no_file(folder / name, what)
    else:
        table = _LEGAL_PRIORS if kind == "legal" else _WRONG_PRIORS
        what = random_.choice(sorted(table))
        name, content = table[what]
        (folder / name).write_bytes(content)
    flags = ["-r", "run/checkpoint-epoch1.pth", "--prior", os.fspath(name)]
    return Case(
        what=f"prior: {what}", legal=kind == "legal", command=random_.choice(["test", "test_all_cifar"]), flags=flags
    )
