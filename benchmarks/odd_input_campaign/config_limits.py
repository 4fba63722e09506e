"""Configurations that are allowed, or nearly so, and ask for much, for next to nothing, or for what has no sense.

They are trained, and may end in any way that takes a line and not long.
"""

from __future__ import annotations

import random
from typing import Any

from benchmarks.odd_input_campaign.config_keys import put
from benchmarks.odd_input_campaign.drafts import Draft
from benchmarks.odd_input_campaign.material import tiny_recipe

_HUGE = (
    *("data_loader.args.batch_size", "data_loader.args.num_workers", "data_loader.args.max_per_class"),
    *("arch.args.num_classes", "arch.args.num_experts", "arch.args.layer2_output_dim", "arch.args.layer3_output_dim"),
    *("trainer.accumulate_steps", "n_gpu", "trainer.save_period", "trainer.early_stop", "trainer.keep_last"),
    *("lr_scheduler.args.step1", "lr_scheduler.args.warmup_epoch", "combiner.mixup.alpha", "arch.args.s"),
    *("trainer.checkpoint_minutes", "data_loader.args.worker_timeout", "loss.tau_max", "trainer.max_skipped_steps"),
)


def huge_values(draft: Draft, random_: random.Random) -> None:
    """A number that is allowed or nearly so, and for which time or memory may not suffice: one line, and soon."""
    path = random_.choice(_HUGE)
    value = random_.choice([10**4, 10**6, 10**9, 10**12, 10**15, 10**18, 2**63 - 1, 1e300, 1e-300, 5e-324])
    draft.doc, draft.base, draft.trains = tiny_recipe(), "tiny", True
    put(draft.doc, path, value)
    put(draft.doc, "trainer.epochs", 1)
    draft.mark(f"{path} = {value!r}", legal=None)


_LIMITS: dict[str, list[Any]] = {
    "data_loader.args.validation_split": [0.9, 0.5, 1e-9, 0.01],
    "data_loader.args.batch_size": [1, 2, 3, 7, 19, 1000],
    "data_loader.args.max_per_class": [1, 2, 100_000],
    "data_loader.args.imb_factor": [1e-9, 1e-300, 1],
    "data_loader.args.imb_type": ["step"],
    "data_loader.args.balanced": [True],
    "data_loader.args.training": [False],
    "data_loader.args.randaugm": [True, "published"],
    "arch.args.num_experts": [1, 5],
    "arch.args.dropout": [1, 1.0, 0.999],
    "arch.args.s": [1e-9, 1e9],
    "arch.args.layer2_output_dim": [1, 2, 17],
    "arch.args.layer3_output_dim": [1, 3, 15],
    "arch.args.num_classes": [1, 2, 11],
    "arch.args.use_norm": [False],
    "trainer.accumulate_steps": [1, 3, 100_000, "auto"],
    "trainer.validate": [True],
    "trainer.monitor": ["min loss", "max val_few", "max val_few_shot_acc", "min val_ece", "off"],
    "trainer.early_stop": [1],
    "trainer.keep_last": [1],
    "trainer.checkpoint_minutes": [1e-6],
    "trainer.precision": ["fp16", "bf16", "auto"],
    "trainer.on_nonfinite": ["skip"],
    "trainer.max_skipped_steps": [1],
    "trainer.epochs": [1, 3],
    "trainable": [[], ["nothing*"], ["*"], ["backbone.linear*"], [""], ["["]],
    "optimizer.args.lr": [0, 1e-300, 1e30, 1e38],
    "optimizer.args.momentum": [0, 1],
    "optimizer.args.weight_decay": [1e30, 0],
    "loss.args.eps": [1e300, 1e-300, 1],
    "loss.tau_max": [999, -999, 0],
    "loss": [{"type": "CrossEntropyLoss"}],
    "combiner.mode": ["cutmix", "mixup_cutmix", "default"],
    "combiner.mixup.alpha": [1e-300, 1e300, 1e-9],
    "combiner.mixup.cutmix_alpha": [1e-300, 1e9],
    "finetuning_combiner": [{"mode": "cutmix", "initial_epoch": 2}],
    "method": [{"type": "EMA", "args": {"decay": 1}}, {"type": "EMA", "args": {"decay": 0}}, {"type": "SWA"}],
    "update_rule": [{"type": "SAM", "args": {"rho": 1e30}}, {"type": "SAM", "args": {"rho": 1e-300, "local": True}}],
    "lr_scheduler": [
        {"type": "OneCycleLR", "args": {"max_lr": 1e30}},
        {"type": "CustomLR", "args": {"step1": 0, "step2": 0, "gamma": 1e-300, "warmup_epoch": 10**6}},
        {"type": "ReduceLROnPlateau", "args": {"mode": "max", "patience": 0}},
        {"type": "CyclicLR", "args": {"base_lr": 0, "max_lr": 0.1, "step_size_up": 1}},
    ],
    "metrics": [[], ["accuracy", "top_k_acc"], ["ece", "few", "many"]],
    "name": ["\u00fc $x$", "a" * 250],
    "n_gpu": [0, 3, 1024],
    "seed": [0, 2**63 - 1],
}


def limits(draft: Draft, random_: random.Random) -> None:
    """Two to four keys at the ends of what they may be, of a run that is then trained."""
    draft.doc, draft.base, draft.trains = tiny_recipe(), "tiny", True
    for path in random_.sample(sorted(_LIMITS), random_.randint(2, 4)):
        value = random_.choice(_LIMITS[path])
        put(draft.doc, path, value)
        draft.mark(f"{path} = {value!r:.80}", legal=None)
