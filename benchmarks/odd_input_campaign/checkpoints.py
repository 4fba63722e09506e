"""Checkpoints of a tiny run: damaged, of wrong content, in odd places; and legal ones of other makes."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.odd_input_campaign import checkpoint_bytes, checkpoint_contents
from benchmarks.odd_input_campaign.cases import Case
from benchmarks.odd_input_campaign.checkpoint_bytes import CANARY, saved
from benchmarks.odd_input_campaign.checkpoint_contents import READERS
from benchmarks.odd_input_campaign.material import RUNS

_CHECKPOINT = "checkpoint-epoch1.pth"
_FILE = f"run/{_CHECKPOINT}"

Family = Callable[[random.Random, Path, Path], Case]


def generate(material: Path, random_: random.Random, folder: Path) -> Case:
    """A checkpoint of one of the runs, beside its configuration, in `folder/run`; and the command that reads it."""
    run = random_.choice(sorted(RUNS))
    (folder / "run").mkdir()
    for name in ("config.json", _CHECKPOINT):
        shutil.copy(material / run / name, folder / "run" / name)
    (family,) = random_.choices([family for family, _ in _FAMILIES], [weight for _, weight in _FAMILIES])
    return family(random_, folder, folder / _FILE)


def _case(what: str, legal: bool | None, reader: str, *, file: str = _FILE, more: tuple[str, ...] = ()) -> Case:
    """The command of a reader on a checkpoint."""
    recipe = ["-c", "run/config.json"]
    commands = {
        "test": ("test", ["-r", file]),
        "sweep": ("test_all_cifar", ["-r", file, "--prior", "known"]),
        "train": ("train", ["-r", file]),
        "convert": ("convert", [file, "converted/new.pth"]),
        "initialise": ("train", [*recipe, "--initialise", file, "--epochs", "1"]),
        "estimate": ("estimate", [file]),
        "configuration": ("train", ["-c", file]),
    }
    command, flags = commands[reader]
    if reader == "convert" and what.endswith(("weights alone", "without a configuration")):
        flags = [*flags, *recipe]
    absent = (CANARY, "converted/*.pth", "converted/.*") if legal is False else (CANARY,)
    return Case(what=f"{reader}: {what}", legal=legal, command=command, flags=[*flags, *more], absent=absent)


def _damaged(random_: random.Random, folder: Path, file: Path) -> Case:
    what = checkpoint_bytes.damage(file, random_)
    return _case(what, False, random_.choice([*READERS, "sweep", "estimate", "configuration"]))


def _no_file(random_: random.Random, folder: Path, file: Path) -> Case:
    what = checkpoint_bytes.replace(file, random_)
    return _case(what, False, random_.choice([*READERS, "sweep"]))


def _wrong_content(random_: random.Random, folder: Path, file: Path) -> Case:
    content = torch.load(file, weights_only=True)
    change = random_.choice(
        [
            *[checkpoint_contents.wrong_entry] * 5,
            *[checkpoint_contents.wrong_weights] * 3,
            checkpoint_contents.missing_entry,
            checkpoint_contents.strange_values,
        ]
    )
    what, readers = change(content, random_)
    file.write_bytes(saved(content))
    return _case(what, False, random_.choice(readers))


def _odd_content(random_: random.Random, folder: Path, file: Path) -> Case:
    content = torch.load(file, weights_only=True)
    what = checkpoint_contents.odd_entry(content, random_)
    file.write_bytes(saved(content))
    return replace(_case(what, None, random_.choice(["train", "train", "test", "convert"])), refusals=(1, 2))


def _other_make(random_: random.Random, folder: Path, file: Path) -> Case:
    what, content, readers = checkpoint_contents.legal_content(torch.load(file, weights_only=True), random_)
    is_old = random_.random() < 0.2 and "object" not in what
    file.write_bytes(saved(content, _use_new_zipfile_serialization=not is_old))
    return _case(f"{'the old format, ' * is_old}{what}", True, random_.choice(readers))


_OTHER_CONFIGURATIONS: list[tuple[dict[str, object], tuple[str, ...], bool]] = [
    ({"arch.args.num_experts": 3}, ("test", "train", "convert"), False),
    ({"arch.args.num_experts": 1}, ("test", "train", "convert"), False),
    ({"arch.args.num_classes": 12}, ("test", "train", "convert"), False),
    ({"arch.args.num_classes": 9}, ("test", "train", "convert"), False),
    ({"arch.args.use_norm": False}, ("test", "train", "convert"), False),
    ({"arch.args.layer2_output_dim": 32}, ("test", "train", "convert"), False),
    ({"arch.type": "ResNet10Model"}, ("test", "train", "convert"), False),
    ({"arch.args.share_layer2": True}, ("test", "train", "convert"), False),
    ({"optimizer.type": "AdamW", "optimizer.args": {"lr": 0.01}}, ("train",), False),
    ({"optimizer.type": "AdamW", "optimizer.args": {"lr": 0.01}}, ("test",), True),
    ({"trainable": ["backbone.linear*"]}, ("train",), False),
    ({"data_loader.args.training": False}, ("train",), False),
    ({"optimizer.args.lr": 0.01}, ("train",), True),
    ({"trainer.epochs": 3}, ("train", "test"), True),
    ({"loss.tau_max": 1}, ("train",), True),
    ({"seed": 3}, ("train",), True),
    ({"data_loader.args.imb_factor": 1.0}, ("train", "test"), True),
    ({"resume_state_dict_only": True, "optimizer.type": "AdamW", "optimizer.args": {}}, ("train",), True),
    ({"name": "other"}, ("train", "test"), True),
]


def _other_configuration(random_: random.Random, folder: Path, file: Path) -> Case:
    """The configuration beside the checkpoint, or the flags, say something else than the checkpoint's own."""
    changes, readers, legal = random_.choice(_OTHER_CONFIGURATIONS)
    reader, more = random_.choice(readers), []
    config = json.loads((folder / "run/config.json").read_text())
    by_flags = reader == "train" and random_.random() < 0.5
    for path, value in changes.items():
        if by_flags:
            more += ["--set", f"{path}={json.dumps(value)}"]
            continue
        *parents, last = path.split(".")
        section = config
        for name in parents:
            section = section[name]
        section[last] = value
    (folder / "run/config.json").write_text(json.dumps(config))
    if reader == "convert":
        more = ["-c", "run/config.json"]
    return _case(f"{'flags' if by_flags else 'config.json'}: {changes}", legal, reader, more=tuple(more))


def _beside(random_: random.Random, folder: Path, file: Path) -> Case:
    """The configuration beside the checkpoint is damaged, missing, or no file."""
    beside = folder / "run/config.json"
    kind = random_.choice(["missing", "empty", "half", "bytes", *checkpoint_bytes.NO_FILES])
    content = beside.read_bytes()
    beside.unlink()
    if kind == "half":
        beside.write_bytes(content[: len(content) // 2])
    elif kind in ("empty", "bytes"):
        beside.write_bytes(b"" if kind == "empty" else random_.randbytes(500))
    elif kind != "missing":
        checkpoint_bytes.no_file(beside, kind)
    return _case(f"config.json beside it is {kind}", False, random_.choice(["test", "train", "sweep"]))


_NAMES = (
    "x.pth",
    "model_best.pth",
    "ünïcode 数据.pth",
    "a b.pth",
    "no_ending",
    "a\nb.pth",
    "$x_1$.pth",
    "-x.pth",
    "🙂.tar",
    "auto.pth",
)


def _place(random_: random.Random, folder: Path, file: Path) -> Case:
    """Another name, a symbolic link to it, a run folder of an odd name, bytes that are no UTF-8."""
    reader = random_.choice(["test", "train", "sweep", "convert", "initialise"])
    kind = random_.choice(["name", "name", "link", "folder", "bytes", "missing", "is a folder"])
    if kind in ("missing", "is a folder"):
        wrong = {
            "missing": random_.choice(["run/none.pth", "none/x.pth", f"{_FILE}/x", "r" * 300, "a\nb"]),
            "is a folder": "run",
        }
        return _case(f"{kind} {wrong[kind]:.40}", False, reader, file=wrong[kind])
    target = {
        "name": f"run/{random_.choice(_NAMES)}",
        "link": "run/link.pth",
        "folder": random_.choice(["ü", "a b", "a\nb", "$r$", "x" * 200]) + f"/{_CHECKPOINT}",
        "bytes": os.fsdecode(b"run/\xff\xfe.pth"),
    }[kind]
    if kind == "link":
        (folder / target).symlink_to(_CHECKPOINT)
    elif kind == "folder":
        (folder / "run").rename(folder / Path(target).parent)
    else:
        file.rename(folder / target)
    legal = None if (kind, reader) == ("bytes", "initialise") else True  # a configuration is written in UTF-8
    case = _case(f"{kind}: {target!r}", legal, reader, file=target)
    if kind == "folder":
        flags = [flag.replace("run/config.json", str(Path(target).parent / "config.json")) for flag in case.flags]
        case = Case(**{**case.__dict__, "flags": flags})
    return case


_FAMILIES: tuple[tuple[Family, int], ...] = (
    (_damaged, 30),
    (_no_file, 8),
    (_wrong_content, 30),
    (_odd_content, 14),
    (_other_make, 14),
    (_other_configuration, 10),
    (_beside, 4),
    (_place, 8),
)
