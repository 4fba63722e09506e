"""Mutations by the command line: flags, `--set`, and command lines that are none."""

from __future__ import annotations

import json
import random

from benchmarks.odd_input_campaign.config_keys import Raw, illegal_value, keys_of, legal_value
from benchmarks.odd_input_campaign.drafts import Draft, to_json
from benchmarks.odd_input_campaign.material import tiny_recipe

_FLAGS: dict[str, tuple[list[str], list[str]]] = {
    "--lr": (
        ["0.05", "1e-3", ".1", "5E-2", "1"],
        ["-1", "nan", "inf", "1,5", "0x10", "", "one", "1e999", "9" * 5000, "[0.1]", "true", "²"],
    ),
    "--learning_rate": (["0.01"], ["-0.1", "null"]),
    "--wd": (["0", "1e-4"], ["-1", "nan", "x"]),
    "--weight_decay": (["0.0005"], ["-0.0001", "{}"]),
    "--bs": (["16", "8"], ["0", "-4", "1.5", "8.5", "x", "2e400", "9" * 5000, str(2**63)]),
    "--batch_size": (["12"], ["none", "[]"]),
    "--epochs": (["1", "2"], ["0", "-1", "1.5", "x", "", "１", "1 2", "null"]),
    "--n_gpu": (["0", "1", "4"], ["-1", "1e18", str(10**18), "two", "0.5"]),
    "--seed": (["0", "7", str(2**63 - 1)], ["-1", str(2**63), "1.5", "x", "7" * 5000]),
    "-s": (["3"], ["-3", ""]),
    "--name": (["other", "ü", "1", "null", "a b"], ["", "a/b", ".."]),
    "--save_period": (["1", "50"], ["0", "x"]),
    "--save_dir": (["out", "oüt/x", "5"], []),
    "--precision": (["fp32", "bf16", "auto"], ["fp64", "FP32", "32", ""]),
    "--parallel": (["none", "dp"], ["fsdp", "1"]),
    "--accumulate_steps": (["1", "2"], ["0", "-1", "auto2", str(10**9), "1.5"]),
    "--activation_checkpointing": (["true", "1", "0", "False"], ["yes", "2", "", "on"]),
    "--channels_last": (["false", "True"], ["nein", "[]"]),
    "--sync_batchnorm": (["true"], ["no"]),
    "--use_norm": (["true", "0", "1"], ["2", "none", "TRUE"]),
    "--norm_scale": (["16", "0.5"], ["0", "-1", "x"]),
    "--num_experts": (["1", "3"], ["0", "-1", "101", "2.5", "x"]),
    "--reduce_dimension": (["true", "0"], ["x"]),
    "--share_layer2": (["1"], ["x"]),
    "--tau_min": (["0", "-0.5"], ["x", "nan", "[]"]),
    "--tau_max": (["3", "2.5"], ["x", "inf", "true"]),
    "--track_expert_losses": (["true", "1"], ["x"]),
    "--combiner_type": (["default", "mixup", "cutmix", "mixup_cutmix"], ["Mixup", "none", "", "1"]),
    "--mixup_alpha": (["0.2", "1"], ["0", "-1", "x", "nan"]),
    "--cutmix_alpha": (["1"], ["0", "x"]),
    "--target_mix_strategy": (["mix_input"], ["mix", "mix_label"]),
}
_SET: list[tuple[str, bool | None]] = [
    ("trainer.epochs=1", True),
    ("trainer.epochs = 1", None),
    (" trainer.epochs=1", None),
    ("trainer.epochs", False),
    ("=1", False),
    ("", False),
    ("=", False),
    ("trainer..epochs=1", False),
    (".trainer.epochs=1", False),
    ("trainer.epochs.=1", False),
    ("trainer.epochs.x=1", False),
    ("name.x=1", False),
    ("no.such.key=1", False),
    ("trainer.epoch=1", False),
    ("optimizer.args.lr=0.01", True),
    ("optimizer.args.lr=1e999", False),
    ("optimizer.args.lr=NaN", False),
    ("optimizer.args.lr=" + "9" * 5000, False),
    ('optimizer={"type": "SGD", "args": {"lr": 0.1}}', True),
    ('optimizer={"type": "SGD", "args": {"lr": 0.1, "lr": 0.2}}', False),
    ('optimizer={"type": "SGD", "args": {"lr": 0.1}', False),
    ('loss={"type": "CrossEntropyLoss"}', True),
    ('loss={"type": "CrossEntropyLoss", "tau_lst": 1}', False),
    ("optimizer=" + "[" * 100_000, False),
    ("optimizer=" + '{"a":' * 90 + "1" + "}" * 90, False),
    ("metrics=[]", None),
    ('metrics=["accuracy"]', True),
    ("metrics=accuracy", False),
    ("metrics[0]=accuracy", False),
    ("name=a=b", True),
    ("name=", False),
    ('name="quoted"', True),
    ("name=null", False),
    ("seed=1", True),
    ("seed=01", False),
    ("seed=True", False),
    ("finetuning_combiner.initial_epoch=2", True),
    ("finetuning_combiner.initial_epoch=0", False),
    ("arch.args.dropout=None", True),
    ("arch.args.dropout=null", True),
    ("_comment=anything", None),
    ("trainer={}", False),
    ("trainer=", False),
    ("trainer.monitor=off", True),
    ("trainer.monitor=max val_nothing", False),
    ("combiner.mixup={}", True),
    ("data_loader.args.batch_size=12", True),
    ("data_loader.args.batch_size=1" + "0" * 15, None),
]
_LINES: list[tuple[list[str], bool | None]] = [
    (["--no_such_flag", "1"], False),
    (["--lrr", "0.1"], False),
    (["--learning", "0.1"], False),  # no abbreviations
    (["--lr"], False),
    (["extra"], False),
    (["--", "extra"], False),
    (["--val"], True),
    (["--validate"], True),
    (["-r", ""], False),
    (["-r", "missing.pth"], False),
    (["-r", "."], False),
    (["-r", "recipe.json"], False),
    (["-r", "a\nb"], False),
    (["-r", "x" * 5000], False),
    (["-r", "auto"], True),
    (["-d", "0"], True),
    (["-d", "0,1"], True),
    (["-d", "²"], False),
    (["-d", "gpu"], False),
    (["-d", "0;1"], False),
    (["-d", "-1"], None),
    (["-l", "missing.json"], False),
    (["-l", "recipe.json"], False),
    (["-l", "."], False),
    (["-c", "missing.json"], False),
    (["--initialise", "missing.pth"], False),
    (["--initialise", "torchvision:NoSuchWeights"], False),
    (["--lr", "0.1", "--lr", "0.2"], True),
    (["--set", "seed=1", "--set", "seed=2"], True),
    (["--set"], False),
    (["--finetuning_start", "2"], True),
    (["--finetuning_start", "0"], False),
]


def flags(draft: Draft, random_: random.Random) -> None:
    """One to three flags with their values, at most one of them wrong."""
    for _ in range(random_.randint(0, 2)):
        flag, (right, _wrong) = random_.choice(sorted(_FLAGS.items()))
        if flag != "--num_experts" or "tau_list" not in " ".join(draft.done):
            _add(draft, flag, random_.choice(right), random_, legal=True)
    flag, (right, wrong) = random_.choice(sorted(_FLAGS.items()))
    legal = not wrong or random_.random() < 0.4
    _add(draft, flag, random_.choice(right if legal else wrong), random_, legal=legal)


def _add(draft: Draft, flag: str, value: str, random_: random.Random, *, legal: bool) -> None:
    """A flag twice counts as its last: a right one does not hide a wrong one."""
    joined = flag.startswith("--") and (value.startswith("-") or random_.random() < 0.3)
    draft.flags += [f"{flag}={value}"] if joined else [flag, value]
    draft.trains &= flag not in ("--lr", "--learning_rate")
    draft.mark(f"{flag} {value:.40}", legal)


def assignments(draft: Draft, random_: random.Random) -> None:
    """`--set` of a key, as the table has it or of a value of the schema's."""
    if random_.random() < 0.5:
        assignment, legal = random_.choice(_SET)
    else:
        path, key = random_.choice(sorted((path, key) for path, key in keys_of(draft.doc).items() if key.alone))
        legal = random_.random() < 0.5
        value = legal_value(key, random_) if legal else illegal_value(key, random_)
        if isinstance(value, str) and not isinstance(value, Raw) and (not legal or key.kind == "text"):
            value = Raw(json.dumps(value))  # else a number in quotes would be a number
        assignment = f"{path}={value if isinstance(value, str) else to_json(value)}"
        draft.trains &= not key.slow and path not in ("optimizer.args.lr", "optimizer.args.weight_decay")
    draft.flags += ["--set", assignment]
    draft.mark(f"--set {assignment:.80}", legal)


def lines(draft: Draft, random_: random.Random) -> None:
    """Command lines as a whole."""
    more, legal = random_.choice(_LINES)
    draft.doc, draft.base, draft.trains = tiny_recipe(), "tiny", True  # whose data are there, so that all is looked at
    draft.flags += more
    draft.mark(" ".join(more)[:80], legal)
