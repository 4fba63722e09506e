"""Mutations of keys: values, names, what is missing and what is too much."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.odd_input_campaign.config_keys import (
    REQUIRED,
    Raw,
    drop,
    get,
    illegal_value,
    keys_of,
    legal_value,
    put,
    sections_of,
)
from benchmarks.odd_input_campaign.drafts import Draft

_SECTIONS = ("arch", "data_loader", "optimizer", "lr_scheduler", "loss")
_DISGUISES = {"a": "а", "e": "е", "o": "о", "c": "с", "p": "р", "i": "і"}  # Latin → Cyrillic


def legal_values(draft: Draft, random_: random.Random) -> None:
    """One to four keys get other values that they take."""
    keys = {path: key for path, key in keys_of(draft.doc).items() if key.alone}
    for path in random_.sample(sorted(keys), random_.randint(1, 4)):
        value = legal_value(keys[path], random_)
        if path == "optimizer.args.nesterov" and not get(draft.doc, "optimizer.args.momentum"):
            continue
        put(draft.doc, path, value)
        draft.trains &= not keys[path].slow
        draft.mark(f"{path} = {value!r:.60}")
    rate, decay = (float(get(draft.doc, f"optimizer.args.{name}") or 0) for name in ("lr", "weight_decay"))
    draft.trains &= rate <= 0.1 and decay <= 0.1


def illegal_values(draft: Draft, random_: random.Random) -> None:
    """A key gets a value of another type, or out of range."""
    path, key = random_.choice(sorted(keys_of(draft.doc).items()))
    value = illegal_value(key, random_)
    put(draft.doc, path, value)
    draft.mark(f"{path} = {value!r:.60}", legal=False)


def texts(draft: Draft, random_: random.Random) -> None:
    """Names and folders: any text that can name a file."""
    path, value, legal = random_.choice(
        [
            *(("name", name, True) for name in ("ünïcode", "数据", "a b c", "🙂", "-x", "a'b\"c", "$x_1$", "x" * 200)),
            *(("name", name, True) for name in ("%s {0}", "a;b", "..x", ".hidden", "CON", "a\tb", "עברית", "e\u0301")),
            *(
                ("name", name, False)
                for name in ("", ".", "..", "a/b", "/", "a\0b", Raw('"\\udc80"'), None, 7, [], "../x")
            ),
            *(
                ("trainer.save_dir", folder, True)
                for folder in ("ü/ö", "runs//x", "./runs/../runs", "with space", "🙂")
            ),
            *(("trainer.save_dir", folder, False) for folder in ("runs\0", None, 1, [], Raw('"\\ud83d"'))),
            *(("metrics", value, True) for value in ([], ["accuracy"], ["accuracy", "top_k_acc"], ["top_k_acc"])),
            *(
                ("metrics", value, False)
                for value in ("accuracy", None, ["accuracyy"], [1], [["accuracy"]], {}, [None])
            ),
            *(("trainer.monitor", value, True) for value in ("off", "max val_accuracy", "min val_loss", "min loss")),
            *(
                ("trainer.monitor", value, False)
                for value in ("max", "best val_accuracy", "max val_x", "", None, 1, "MAX val_loss")
            ),
            *(("trainable", value, False) for value in ("*", [1], {"a": 1}, [None])),
            *(("trainable", value, True) for value in (None, ["*"], ["backbone.*"])),
        ]
    )
    put(draft.doc, path, value)
    if path == "metrics":
        put(draft.doc, "trainer.monitor", "off")  # which may name one of them
    draft.trains &= path != "trainable"
    draft.mark(f"{path} = {value!r:.60}", legal)


def missing_keys(draft: Draft, random_: random.Random) -> None:
    """A key is left out: a required one, or one that has a default."""
    optional = [path for path, key in keys_of(draft.doc).items() if key.alone and get(draft.doc, path) is not None]
    optional = [path for path in optional if path not in REQUIRED and not path.startswith(("lr_sch", "data_loader"))]
    required = [path for path in REQUIRED if get(draft.doc, path) is not None]
    legal = random_.random() < 0.4
    path = random_.choice(optional if legal else required)
    drop(draft.doc, path)
    draft.trains &= not path.startswith("trainer")
    draft.mark(f"without {path}", legal)


def unknown_keys(draft: Draft, random_: random.Random) -> None:
    """A key that there isn't, a misspelt one, or one in disguise; or a comment, which is no key."""
    section = random_.choice([path for path in sections_of(draft.doc) if path != "metrics"])
    content = get(draft.doc, section) if section else draft.doc
    if random_.random() < 0.3:
        name = random_.choice(["_comment", "_comment2", "_comments", "_comment über", "_comment.a"])
        content[name] = random_.choice(["x", None, [1, [2]], {"a": {"b": {}}}, 1e300, "\u0000"])
        draft.mark(f"{section}: a comment")
        return
    names = [name for name in content if len(name) > 2]
    name = (
        _misspelt(random_.choice(names), random_)
        if names and random_.random() < 0.7
        else random_.choice(
            ["x", "", " ", "args ", "__class__", "self", "lr", "Type", "\u200b", "extra.key", "0", "_comm", "comment"]
        )
    )
    if name in content or (name == "lr" and section == "optimizer.args"):
        name = "no_such_key"
    content[name] = content.pop(names[0]) if names and random_.random() < 0.3 else random_.choice([1, None, {}, "x"])
    draft.mark(f"{section}: unknown key {name!r}", legal=False)


def _misspelt(name: str, random_: random.Random) -> str:
    place = random_.randrange(len(name) - 1)
    disguised = "".join(_DISGUISES.get(letter, letter) for letter in name)
    return random_.choice(
        [
            name[:place] + name[place + 1] + name[place] + name[place + 2 :]
            if name[place] != name[place + 1]
            else f"{name}_",
            name[:place] + name[place + 1 :] + "~",
            name + name[-1],
            name.upper() if name.upper() != name else f"{name}2",
            f"{name} ",
            disguised if disguised != name else f"{name}\ufeff",
        ]
    )


def whole_sections(draft: Draft, random_: random.Random) -> None:
    """A section that is no section, or names what there isn't."""
    section = random_.choice([*_SECTIONS, "trainer", "combiner", "combiner.mixup"])
    kinds = ["value"] if section.startswith(("trainer", "combiner")) else ["value", "type", "args", "type"]
    kind = random_.choice(kinds)
    if kind == "value":
        value = random_.choice([None, [], "SGD", 1, True, [{}], ""])
        put(draft.doc, section, value)
    elif kind == "args":
        value = random_.choice([None, [], "lr=0.1", 1, [["lr", 0.1]]])
        put(draft.doc, f"{section}.args", value)
    else:
        value = random_.choice(
            [
                *(
                    "",
                    None,
                    1,
                    [],
                    {},
                    "__init__",
                    "Optimizer",
                    "LRScheduler",
                    "Module",
                    "os.system",
                    "torch.optim.SGD",
                ),
                *(
                    "SDG",
                    "sgd",
                    "ResNet33Model",
                    "resnet32model",
                    "CustomLr",
                    "BSExpertloss",
                    "__all__",
                    "Tensor",
                    "nn",
                ),
            ]
        )
        put(draft.doc, f"{section}.type", value)
    draft.mark(f"{section}: {kind} = {value!r}", legal=False)


CONTRADICTIONS: list[tuple[dict[str, Any], bool | None]] = [
    ({"add_extra_info": False}, False),
    ({"arch.args.returns_feat": False}, False),
    ({"add_extra_info": False, "arch.args.num_experts": 1}, True),
    ({"arch.args.returns_feat": False, "arch.args.num_experts": 1}, True),
    ({"combiner.mode": "cutmix", "combiner.mixup.target_mix_strategy": "mix_logits"}, False),
    ({"combiner.mode": "default", "combiner.mixup.target_mix_strategy": "mix_logits"}, False),
    ({"combiner.mode": "mixup", "combiner.mixup.target_mix_strategy": "mix_logits"}, True),
    ({"finetuning_combiner": {"type": "Combiner", "mode": "default", "initial_epoch": 2}}, True),
    (
        {
            "finetuning_combiner": {
                "type": "Combiner",
                "mode": "mixup",
                "mixup": {"alpha": 0.1},
                "initial_epoch": 1,
            }
        },
        True,
    ),
    ({"finetuning_combiner": {"type": "Combiner", "mode": "default"}}, False),
    ({"finetuning_combiner": {"mode": "default", "initial_epoch": 0}}, False),
    ({"finetuning_combiner": {"mode": "default", "initial_epoch": 1.5}}, False),
    ({"finetuning_combiner": None}, True),
    ({"optimizer.args.nesterov": True, "optimizer.args.momentum": 0}, False),
    ({"optimizer.args.nesterov": False, "optimizer.args.momentum": 0}, True),
    ({"optimizer.args.momentum": 1.5}, False),
    ({"optimizer.args.momentum": 2**63}, False),
    ({"optimizer.args.lr": 1e300}, False),
    ({"method": {"type": "cRT"}}, False),
    ({"method": {"type": "LWS"}}, False),
    ({"method": {"type": "EMA"}}, True),
    ({"method": {"type": "EMA", "args": {"decay": 1.5}}}, False),
    ({"method": {"type": "EMA", "args": {"method": {"type": "cRT"}}}}, False),
    ({"method": {"type": "EMA", "args": {"method": {"type": "EMA"}}}}, None),
    ({"method": {"type": "SWA", "args": {"start": 0.5, "every": 1}}}, True),
    ({"method": {"type": "SWA", "args": {"every": 0}}}, False),
    ({"method": {"type": "SWA", "args": {"method": {"type": "EMA", "args": {"decay": 0.5}}}}}, None),
    ({"method": {"type": "SWA", "args": {"method": {"type": "Nothing"}}}}, False),
    ({"method": {"type": "EMA", "args": {"method": "Supervised"}}}, False),
    ({"update_rule": {"type": "SAM", "args": {"rho": 0.05}}}, True),
    ({"update_rule": {"type": "SAM", "args": {"rho": 0}}}, False),
    ({"update_rule": {"type": "SAM", "args": {"rho": -1}}}, False),
    ({"update_rule": {"type": "Descent"}}, True),
    ({"loaders": {"unlabelled": {"type": "ImbalanceDigitsDataLoader", "args": {"batch_size": 4}}}}, False),
    ({"loaders": {}}, True),
    ({"loaders": []}, False),
    ({"initialise": {"checkpoint": 5}}, False),
    ({"initialise": {}}, False),
    ({"initialise": {"checkpoint": "x.pth", "reset": "backbone"}}, False),
    ({"loss.type": "CrossEntropyLoss"}, False),  # with BSExpertLoss's arguments
    ({"loss": {"type": "CrossEntropyLoss"}}, True),
    ({"loss": {"type": "CrossEntropyLoss", "args": {}}, "arch.args.num_experts": 1}, True),
]
"""Values of keys that are each right, and whether they are together; None: the documentation leaves it open."""


def between_keys(draft: Draft, random_: random.Random) -> None:
    """Keys that are each right and contradict one another, or the documentation says they don't."""
    changes, legal = random_.choice(CONTRADICTIONS)
    for path, value in changes.items():
        put(draft.doc, path, value)
    draft.mark(", ".join(f"{path} = {value!r:.80}" for path, value in changes.items()), legal)
