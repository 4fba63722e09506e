"""Mutations of where a configuration stands: recipes that extend others, and what is no file at all."""

from __future__ import annotations

import json
import os
import random
import socket
from pathlib import Path
from typing import Any

from benchmarks.odd_input_campaign.config_keys import Doc, put
from benchmarks.odd_input_campaign.drafts import Draft, digits_recipe, to_json


def no_file(path: Path, kind: str, file: Path | None = None) -> None:
    """Put something that is no regular file at `path`: "pipe", "folder", "loop", "dangling", "device", "socket".

    Or "link": a symbolic link to `file`.
    """
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's whole path may have 107 bytes only
        socket.socket(socket.AF_UNIX).bind(path.name)
        os.chdir(here)
    else:
        assert file is not None, kind
        path.symlink_to(file)


NO_FILES = ("pipe", "folder", "loop", "dangling", "device", "socket")


def places(draft: Draft, random_: random.Random) -> None:
    """Something else in the file's place, or a file of another name."""
    kind = random_.choice([*NO_FILES, "missing", "link", "link", "name", "name", "name"])
    if kind == "link":
        (draft.folder / "elsewhere.json").write_text(to_json(draft.doc), encoding="utf8")
        no_file(draft.folder / draft.file, "link", Path("elsewhere.json"))
    elif kind == "name":
        draft.file = random_.choice(
            ["ä.json", "a b.json", "no_ending", "x.pth", "a'\"$(ls).json", "🙂.json", "a\nb.json", "r" * 250]
        )
    elif kind == "missing":
        draft.file = random_.choice(["missing.json", "missing/recipe.json", "r" * 300, "ü" * 200, "", "recipe.json/x"])
        draft.is_written = True
        draft.mark(f"no file {draft.file!r:.40}", legal=False)
        return
    else:
        no_file(draft.folder / draft.file, kind)
    draft.mark(f"the file is a {kind}", kind in ("link", "name"))


def chains(draft: Draft, random_: random.Random) -> None:
    """The recipe is spread over several files, each of which extends the next one."""
    files = [
        draft.folder / name
        for name in random_.sample(["a.json", "b.json", "sub/c.json", "sub/deep/d.json", "ü.json"], 4)
    ]
    depth = random_.randint(1, 4)
    parts = _spread(draft.doc, depth + 1, random_)
    names = [draft.folder / draft.file, *files[:depth]]
    for level, (path, part) in enumerate(zip(names, parts, strict=True)):
        if level < depth:
            target = names[level + 1]
            relative = os.path.relpath(target, path.parent)
            part["extends"] = random_.choice([relative, str(target), f"./{relative}"])
    what, legal = _break_a_chain(parts, names, random_) if random_.random() < 0.5 else ("", True)
    for path, part in zip(names, parts, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (path.exists() or path.is_symlink()):
            path.write_text(to_json(part), encoding="utf8")
    draft.mark(f"a chain of {depth + 1} files{what}", legal)


def long_chains(draft: Draft, random_: random.Random) -> None:
    """Hundreds of files that extend one another."""
    count = random_.choice([50, 300, 1500])
    for number in range(count):
        (draft.folder / f"{number}.json").write_text(json.dumps({"extends": f"{number + 1}.json", "seed": number}))
    (draft.folder / f"{count}.json").write_text(to_json(draft.doc), encoding="utf8")
    draft.file = "0.json"
    draft.mark(f"a chain of {count + 1} files", count <= 100)


def _spread(doc: Doc, count: int, random_: random.Random) -> list[Doc]:
    """A recipe's keys over several files, whole sections or key by key; the last one has something of all."""
    parts: list[Doc] = [{} for _ in range(count)]
    for name, value in doc.items():
        if isinstance(value, dict) and "type" not in value and random_.random() < 0.5:
            for key, item in value.items():
                put(parts[random_.randrange(count)], f"{name}.{key}", item)
        else:
            parts[random_.randrange(count)][name] = value
    for name in ("seed", "name"):  # the first file's counts
        if name in doc:
            parts[0][name] = doc[name]
            parts[-1][name] = "inherited" if name == "name" else 7
    return parts


def _break_a_chain(parts: list[Doc], names: list[Path], random_: random.Random) -> tuple[str, bool]:
    wrong: Any = random_.choice(["missing.json", "", 5, None, [], "no\0name", ".", "..", "/dev/zero", "sub", True, {}])
    kind = random_.choice(["circle", "itself", "wrong", "wrong", "pipe", "broken", "list", "within a section", "key"])
    if kind == "circle":
        parts[-1]["extends"] = os.path.relpath(names[0], names[-1].parent)
    elif kind == "itself":
        parts[-1]["extends"] = names[-1].name
    elif kind == "wrong":
        parts[-1]["extends"] = wrong
        return f", the last one extends {wrong!r}", False
    elif kind == "pipe":
        names[-1].parent.mkdir(parents=True, exist_ok=True)
        no_file(names[-1], random_.choice(["pipe", "loop", "device", "folder"]))
    elif kind == "broken":
        names[-1].parent.mkdir(parents=True, exist_ok=True)
        names[-1].write_bytes(random_.choice([b"", b"{", b"[]", b"\xff\xfe{}", b'{"name": 1, "name": 2}']))
    elif kind == "list":
        parts[0]["extends"] = [parts[0]["extends"]]
    elif kind == "within a section":
        parts[0].setdefault("trainer", {})["extends"] = parts[0]["extends"]
    else:
        parts[-1]["no_such_key"] = 1
    return f", {kind}", False


_CHILDREN: list[tuple[str, Doc, bool]] = [
    ("bs-experts", {}, True),
    ("bs-experts", {"optimizer": {"type": "AdamW", "args": {"lr": 0.001}}}, True),
    ("bs-experts", {"optimizer": {"type": "AdamW"}}, True),
    ("bs-experts", {"optimizer": {"type": "AdamW", "args": {"momentum": 0.9}}}, False),
    ("bs-experts", {"optimizer": {"type": "SGD", "args": {"lr": 0.01}}}, True),
    ("bs-experts", {"optimizer": {"args": {"lr": 0.01}}}, True),
    ("bs-experts", {"optimizer": {"lr": 0.01}}, False),
    ("bs-experts", {"loss": {"type": "CrossEntropyLoss"}}, True),
    ("ce", {"loss": {"type": "BSExpertLoss"}}, False),  # inherits no τ
    ("ce", {"loss": {"type": "BSExpertLoss", "args": {"tau_list": [1]}}}, True),
    ("ce", {"loss": {"type": "BSExpertLoss", "args": {"tau_list": "limits"}, "tau_min": 0, "tau_max": 1}}, True),
    ("ce", {"arch": {"args": {"num_experts": 4}}}, True),
    ("bs-experts", {"loss": {"args": {"tau_list": [0, 1]}}}, False),
    ("bs-experts", {"loss": {"args": {"tau_list": [0, 1]}}, "arch": {"args": {"num_experts": 2}}}, True),
    ("bs-experts", {"lr_scheduler": {"type": "StepLR", "args": {"step_size": 5}}}, True),
    ("bs-experts", {"lr_scheduler": {"type": "StepLR", "args": {}}}, False),
    ("bs-experts", {"lr_scheduler": {"type": "OneCycleLR", "args": {"max_lr": 0.2}}}, True),
    ("bs-experts", {"metrics": []}, False),  # the inherited monitor needs val_accuracy
    ("bs-experts", {"trainer": {"epochs": 0}}, False),
    ("bs-experts", {"trainer": None}, False),
    ("bs-experts", {"arch": []}, False),
    ("bs-experts", {"name": None}, False),
    ("ema", {"method": {"args": {"decay": 0.5}}}, True),
    ("ema", {"method": {"type": "SWA"}}, True),
    ("ema", {"method": {"type": "SWA", "args": {"decay": 0.5}}}, False),
    ("ema", {"method": {"type": "Supervised"}}, True),
    ("swa", {"method": {"args": {"start": 0.99}}}, True),
    ("swa", {"method": {"args": {"start": 1.5}}}, False),
    ("sam", {"update_rule": {"type": "Descent"}}, True),
    ("sam", {"update_rule": {"args": {"rho": 0.1, "local": True}}}, True),
    ("sam", {"update_rule": {"args": {"rho": "0.1"}}}, False),
    ("crt", {}, False),  # starts from a trained network
    ("lws", {"name": "x"}, False),
    ("crt", {"method": {"type": "Supervised"}}, True),
]


def children(draft: Draft, random_: random.Random) -> None:
    """A few lines on top of a recipe of digits."""
    parent, doc, legal = random_.choice(_CHILDREN)
    draft.trains = False
    draft.content = json.dumps({"extends": digits_recipe(parent), **doc}).encode()
    draft.mark(f"{parent} extended by {doc}", legal)
