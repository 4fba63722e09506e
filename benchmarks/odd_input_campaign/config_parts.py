"""Mutations of sections that name a class: optimisers, schedules (nested ones, too), τ lists, networks."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.odd_input_campaign.config_keys import Raw, put
from benchmarks.odd_input_campaign.drafts import Draft

_OPTIMISERS: list[tuple[str, dict[str, Any], bool]] = [
    ("Adam", {"lr": 0.001, "betas": [0.9, 0.99]}, True),
    ("Adam", {"lr": 0.001, "momentum": 0.9, "nesterov": True}, False),
    ("Adam", {"betas": [0.9, 1.5]}, False),
    ("Adam", {"betas": [0.9]}, False),
    ("Adam", {"betas": 0.9}, False),
    ("AdamW", {"weight_decay": 0.05}, True),
    ("AdamW", {}, True),
    ("AdamW", {"lr": 0.01, "amsgrad": True}, True),
    ("AdamW", {"lr": "0.01"}, False),
    ("NAdam", {"lr": 0.002, "momentum_decay": 0.004}, True),
    ("RAdam", {"lr": 0.001}, True),
    ("Adagrad", {"lr": 0.01, "lr_decay": 0.001}, True),
    ("Adagrad", {"lr": 0.01, "lr_decay": -1}, False),
    ("Adadelta", {"rho": 0.9}, True),
    ("Adadelta", {"rho": 1.9}, False),
    ("RMSprop", {"lr": 0.001, "momentum": 0.5, "centered": True}, True),
    ("RMSprop", {"lr": 0.001, "nesterov": True}, False),
    ("SGD", {"lr": 0.01}, True),
    ("SGD", {}, True),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "dampening": 0.1, "nesterov": True}, False),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "dampening": 0.1}, True),
    ("SGD", {"lr": 0.01, "params": []}, False),
    ("SGD", {"lr": 0.01, "weight_decay": -0.1}, False),
    ("SGD", {"lr": -0.01}, False),
    ("SGD", {"lr": Raw("NaN")}, False),
    ("SGD", {"lr": [0.1]}, False),
    ("Adamax", {"lr": 0.002, "betas": [0.9, 0.999]}, True),
    ("LBFGS", {}, False),
    ("SparseAdam", {}, False),
    ("Muon", {}, False),
    ("Optimizer", {}, False),
]
_COSINE = {"type": "CosineAnnealingLR", "args": {"T_max": 5}}
_WARM_UP = {"type": "LinearLR", "args": {"start_factor": 0.1, "total_iters": 2}}
_SCHEDULES: list[tuple[dict[str, Any], bool]] = [
    ({"type": "StepLR", "args": {"step_size": 3}}, True),
    ({"type": "StepLR", "args": {"step_size": 3, "gamma": 0.5}, "step_unit": "step"}, True),
    ({"type": "StepLR", "args": {"step_size": 0}}, False),
    ({"type": "StepLR", "args": {"step_size": -1}}, False),
    ({"type": "StepLR", "args": {}}, False),
    ({"type": "StepLR", "args": {"step_size": 3}, "step_unit": "batch"}, False),
    ({"type": "StepLR", "args": {"step_size": 3}, "step_unit": None}, True),
    ({"type": "StepLR", "args": {"step1": 3, "step2": 4}}, False),
    ({"type": "MultiStepLR", "args": {"milestones": [2, 4], "gamma": 0.1}}, True),
    ({"type": "MultiStepLR", "args": {"milestones": []}}, True),
    ({"type": "MultiStepLR", "args": {"milestones": "2,4"}}, False),
    ({"type": "MultiStepLR", "args": {"milestones": ["a"]}}, False),
    ({"type": "ExponentialLR", "args": {"gamma": 0.95}}, True),
    ({"type": "ExponentialLR", "args": {"gamma": -0.95}}, False),
    ({"type": "ExponentialLR", "args": {"gamma": None}}, False),
    ({"type": "CosineAnnealingLR", "args": {"T_max": 10, "eta_min": 0.0001}}, True),
    ({"type": "CosineAnnealingLR", "args": {"T_max": -3}}, False),
    ({"type": "CosineAnnealingLR", "args": {"T_max": 0}}, False),
    ({"type": "CosineAnnealingLR", "args": {"T_max": 10, "step1": 3}}, False),
    ({"type": "CosineAnnealingLR", "args": {"T_max": 2.5}}, False),
    ({"type": "CosineAnnealingLR", "args": {"eta_min": 0}}, False),
    ({"type": "CosineAnnealingWarmRestarts", "args": {"T_0": 5, "T_mult": 2}}, True),
    ({"type": "CosineAnnealingWarmRestarts", "args": {"T_0": 0}}, False),
    ({"type": "CosineAnnealingWarmRestarts", "args": {"T_0": 5, "T_mult": 0}}, False),
    ({"type": "ConstantLR", "args": {"factor": 0.5, "total_iters": 2}}, True),
    ({"type": "PolynomialLR", "args": {"total_iters": 10, "power": 2}}, True),
    ({"type": "OneCycleLR", "args": {"max_lr": 0.1}}, True),
    ({"type": "OneCycleLR", "args": {"max_lr": 0.1, "cycle_momentum": False}}, True),
    ({"type": "OneCycleLR", "args": {"max_lr": 0.1, "pct_start": 2}}, False),
    ({"type": "OneCycleLR", "args": {}}, False),
    ({"type": "OneCycleLR", "args": {"max_lr": 0.1, "anneal_strategy": "cosine"}}, False),
    ({"type": "CyclicLR", "args": {"base_lr": 0.001, "max_lr": 0.1, "step_size_up": 4}}, True),
    ({"type": "CyclicLR", "args": {"base_lr": 0.001}}, False),
    ({"type": "LambdaLR", "args": {"lr_lambda": "lambda e: 0.1"}}, False),
    ({"type": "LRScheduler", "args": {}}, False),
    ({"type": "CustomLR", "args": {"step1": 1, "step2": 2}}, True),
    ({"type": "CustomLR", "args": {"step1": 1}}, False),
    ({"type": "CustomLR", "args": {"step1": 1, "step2": 2, "optimizer": "SGD"}}, False),
    ({"type": "ReduceLROnPlateau", "args": {"mode": "max"}}, False),  # without validation
    ({"type": "SequentialLR", "args": {"schedulers": [_WARM_UP, _COSINE], "milestones": [2]}}, True),
    (
        {"type": "SequentialLR", "args": {"schedulers": [_WARM_UP, _COSINE], "milestones": [2]}, "step_unit": "step"},
        True,
    ),
    ({"type": "SequentialLR", "args": {"schedulers": [_WARM_UP, _COSINE, _COSINE], "milestones": [2, 4]}}, True),
    ({"type": "SequentialLR", "args": {"schedulers": [_WARM_UP, _COSINE, _COSINE], "milestones": [4, 2]}}, False),
    ({"type": "SequentialLR", "args": {"schedulers": [_WARM_UP, _COSINE], "milestones": [2, 3]}}, False),
    ({"type": "SequentialLR", "args": {"schedulers": [_WARM_UP, _COSINE], "milestones": []}}, False),
    ({"type": "SequentialLR", "args": {"schedulers": [_WARM_UP, _COSINE], "milestones": [0]}}, False),
    ({"type": "SequentialLR", "args": {"schedulers": [], "milestones": []}}, False),
    ({"type": "SequentialLR", "args": {"schedulers": _COSINE, "milestones": [1]}}, False),
    ({"type": "SequentialLR", "args": {"schedulers": ["LinearLR", "StepLR"], "milestones": [1]}}, False),
    (
        {
            "type": "SequentialLR",
            "args": {"schedulers": [_WARM_UP, {"type": "OneCycleLR", "args": {"max_lr": 1}}], "milestones": [1]},
        },
        False,
    ),
    (
        {"type": "SequentialLR", "args": {"schedulers": [_WARM_UP, {"type": "CosineAnnealingLR"}], "milestones": [1]}},
        False,
    ),
    (
        {
            "type": "SequentialLR",
            "args": {
                "schedulers": [_WARM_UP, {"type": "StepLR", "args": {"step_size": 1}, "lr": 1}],
                "milestones": [1],
            },
        },
        False,
    ),
    ({"type": "ChainedScheduler", "args": {"schedulers": [_WARM_UP, _COSINE]}}, True),
    (
        {
            "type": "ChainedScheduler",
            "args": {"schedulers": [_WARM_UP, {"type": "ExponentialLR", "args": {"gamma": 0.9}}]},
        },
        True,
    ),
    ({"type": "ChainedScheduler", "args": {"schedulers": []}}, False),
    (
        {
            "type": "ChainedScheduler",
            "args": {"schedulers": [_WARM_UP, {"type": "CosineAnnealingWarmRestarts", "args": {"T_0": 2}}]},
        },
        False,
    ),
    (
        {
            "type": "ChainedScheduler",
            "args": {"schedulers": [{"type": "ChainedScheduler", "args": {"schedulers": [_COSINE]}}]},
        },
        False,
    ),
    ({"type": "ChainedScheduler", "args": {"schedulers": [_WARM_UP], "milestones": [1]}}, False),
]


def optimisers(draft: Draft, random_: random.Random) -> None:
    """Another optimiser, with its own arguments or another's."""
    name, args, legal = random_.choice(_OPTIMISERS)
    draft.doc["optimizer"] = {"type": name, "args": dict(args)}
    draft.mark(f"optimizer {name} {args}", legal)


def schedules(draft: Draft, random_: random.Random) -> None:
    """Another schedule, nested ones, too."""
    section, legal = random_.choice(_SCHEDULES)
    draft.doc["lr_scheduler"] = section
    put(draft.doc, "trainer.validate", False)
    draft.mark(f"lr_scheduler {section}", legal)


def tau_lists(draft: Draft, random_: random.Random) -> None:
    """τ in all its forms, in the file or by flags, for one to nine experts."""
    experts = random_.choice([1, 2, 3, 4, 7, 9])
    put(draft.doc, "arch.args.num_experts", experts)
    draft.trains &= experts <= 3
    numbers = [round(random_.uniform(-2, 4), 2) for _ in range(experts)]
    as_text = ";".join(map(str, numbers))
    low = round(random_.uniform(-2, 1), 2)
    limits = (low, low + random_.choice([0, 1, 2.5]))
    tau_list, limits_given, legal = random_.choice(
        [
            *((tau, limits, True) for tau in (numbers, as_text, "limits", "uniform")),
            *((tau, (None, None), True) for tau in (numbers, as_text, [int(tau) for tau in numbers])),
            *((tau, (None, None), False) for tau in ("limits", "uniform")),
            *((tau, (limits[0], None), False) for tau in ("limits", "uniform")),
            *((tau, limits, False) for tau in ([*numbers, 1], numbers[1:], f"{as_text};1", "", [], "limit", "LIMITS")),
            *((tau, limits, False) for tau in ("a;b;c", as_text + ";nan", [str(tau) for tau in numbers], None, True)),
            *((tau, limits, False) for tau in ([[tau] for tau in numbers], {"tau": numbers}, [None] * experts)),
            *((tau, limits, False) for tau in ([Raw("NaN")] * experts, [Raw("1e999")] * experts, ",".join("ab"))),
            *(
                ("limits", pair, False)
                for pair in (("0", 2), (0, "2"), (Raw("NaN"), 1), (0, [2]), (0, Raw("Infinity")))
            ),
        ]
    )
    by_flag = isinstance(tau_list, str) and random_.random() < 0.4
    if by_flag:
        draft.flags.append(f"--tau_list={tau_list}")
        draft.doc["loss"] = {"type": "BSExpertLoss", "args": {"tau_list": "limits"}}
    else:
        draft.doc["loss"] = {"type": "BSExpertLoss", "args": {"tau_list": tau_list}}
    for name, value in zip(("tau_min", "tau_max"), limits_given, strict=True):
        if value is not None:
            draft.doc["loss"][name] = value
    draft.mark(f"{experts} experts, τ = {tau_list!r} within {limits_given}{' by flag' * by_flag}", legal)


def networks(draft: Draft, random_: random.Random) -> None:
    """Another network, with any arguments of its kind; only counted, not trained."""
    draft.trains = False
    name = random_.choice(
        [
            *(f"ResNet{depth}Model" for depth in (10, 32, 34, 50, 101, 152)),
            "ResNet32Model_B",
            "ResNeXt50Model",
            "ResNeXt152Model",
        ]
    )
    args: dict[str, Any] = {
        "num_classes": draft.doc["arch"]["args"]["num_classes"],
        "num_experts": random_.choice([1, 2, 5]),
    }
    args |= {"returns_feat": True}
    for switch in ("use_norm", "reduce_dimension", "share_layer2", "share_layer3"):
        if random_.random() < 0.4:
            args[switch] = random_.random() < 0.5
    args["share_layer3"] = args.get("share_layer3", False) and args.get("share_layer2", False)  # meets no more
    args |= random_.choice([{}, {"s": 16}, {"dropout": 0.5}, {"dropout": None}])
    legal = random_.random() < 0.6
    if not legal:
        args |= random_.choice(
            [{"depth": 5}, {"num_experts": 0}, {"num_experts": 101}, {"layers": [1]}, {"s": 0}, {"dropout": 2}]
        )
    draft.doc["arch"] = {"type": name, "args": args}
    draft.mark(f"arch {name} {args}", legal)
