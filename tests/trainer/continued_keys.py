"""What each key of the schema does when it is changed on `-r`: one case a key, and the run that it is tried on.

A new key without a case fails `test_every_key_on_continuation.py`. Add its case here, and its row to
docs/continuing.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.trainer.schema_keys import Key

Effect = Literal["next update", "same weights", "refused"]


@dataclass(frozen=True)
class Case:
    """A change that is tried.

    Args:
        effect: on the very next update of the weights; "same weights": none but for rounding.
        value: the new one.
        before: path → value of the run before, on top of `begun`; all else stays.
        along: path → value of what has to be changed with it.
        line: where it is refused: a part of what is said.
    """

    effect: Effect
    value: Any
    before: Mapping[str, Any] = field(default_factory=dict)
    along: Mapping[str, Any] = field(default_factory=dict)
    line: str = ""


def case_of(key: Key) -> Case:
    """The case of a key: its own, or that of its name whatever the class."""
    section = key.path.rpartition(".")[0]
    if str(key) in CASES:
        case = CASES[str(key)]
    elif key.path in CASES:
        case = CASES[key.path]
    else:
        raise AssertionError(
            f"{key}: what does it do when it is changed on -r? Add its case to tests/trainer/continued_keys.py and its "
            "row to docs/continuing.md"
        )
    if section != "optimizer.args":
        return case
    optimizer = {"type": key.owner, "args": {**_OPTIMIZERS.get(key.owner, {}), **case.before}}
    further = {"data_loader.args.batch_size": 26} if key.owner == "RAdam" else {}  # it adapts from its sixth update on
    return Case(case.effect, case.value, {"optimizer": optimizer, **further}, line=case.line)


def changed(value: Any, /, **case: Any) -> Case:
    """Its effect is on the next update."""
    return Case("next update", value, **case)


def unchanged(value: Any, /, **case: Any) -> Case:
    """It has nothing to do with the weights."""
    return Case("same weights", value, **case)


def refused(value: Any, line: str, /, **case: Any) -> Case:
    """It can't be changed, which a line says."""
    return Case("refused", value, line=line, **case)


_OPTIMIZERS = {"SGD": {"lr": 0.05, "momentum": 0.9}}
_NOT_KEPT = "of the weights, which the configuration's options need"
_AT_FIRST = "goes on from what it has made of the old value"

OPTIMIZERS = {
    "lr": changed(0.5),
    "weight_decay": changed(0.1),
    "maximize": changed(True),
    "eps": changed(0.1),
    "betas": changed([0.5, 0.6]),
    "foreach": unchanged(True),
    "fused": unchanged(True),
    "capturable": refused(True, "capturable"),
    "differentiable": refused(True, "optimizer: "),
    "decoupled_weight_decay": changed(True, before={"weight_decay": 0.1}),
    "amsgrad": refused(True, _NOT_KEPT),
    "momentum of SGD": changed(0.5),
    "dampening of SGD": changed(0.5),
    "nesterov of SGD": changed(True),
    "beta2_decay of Adafactor": changed(-0.1),
    "eps of Adafactor": changed([1e-3, 0.5]),
    "d of Adafactor": changed(100.0),
    "rho of Adadelta": changed(0.5),
    "lr_decay of Adagrad": changed(0.5),
    "initial_accumulator_value of Adagrad": refused(0.5, _AT_FIRST),
    "lr of ASGD": refused(0.5, _AT_FIRST),
    "lambd of ASGD": changed(0.5),
    "alpha of ASGD": refused(0.5, _AT_FIRST),
    "t0 of ASGD": unchanged(2.0),
    "momentum_decay of NAdam": changed(0.5),
    "alpha of RMSprop": changed(0.5),
    "momentum of RMSprop": refused(0.5, _NOT_KEPT),
    "centered of RMSprop": refused(True, _NOT_KEPT),
    "lr of Rprop": refused(0.5, _AT_FIRST),
    "etas of Rprop": changed([0.1, 3.0]),
    "step_sizes of Rprop": changed([0.5, 50]),
}


def _schedule(before: dict[str, Any], **values: Any) -> dict[str, Case]:
    """Cases of a schedule's arguments: name → new value, or (new value, what else the run before has)."""
    pairs = {name: value if isinstance(value, tuple) else (value, {}) for name, value in values.items()}
    return {name: changed(value, before={**before, **further}) for name, (value, further) in pairs.items()}


_CYCLE = {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5}
_ONE_CYCLE = {"max_lr": 0.1, "total_steps": 10}
_BY_LENGTH = {"total_steps": None, "epochs": 10, "steps_per_epoch": 1}
_PLATEAU = {"factor": 0.5, "patience": 0, "threshold": 0.6}
_PARTS = [{"type": "LinearLR", "args": {"total_iters": 9}}, {"type": "ExponentialLR", "args": {"gamma": 0.5}}]

SCHEDULES: dict[str, dict[str, Case]] = {
    "CustomLR": _schedule(
        {"step1": 1, "step2": 9, "gamma": 0.1, "warmup_epoch": 0},
        **{"step1": 8, "step2": 2, "gamma": 0.5, "warmup_epoch": 8},
    ),
    "StepLR": _schedule({"step_size": 2, "gamma": 0.1}, step_size=1, gamma=0.5),
    "MultiStepLR": _schedule({"milestones": [2, 9], "gamma": 0.1}, milestones=[2, 3], gamma=0.5),
    "ConstantLR": _schedule({"factor": 0.5, "total_iters": 9}, factor=0.25, total_iters=2),
    "LinearLR": _schedule({"start_factor": 0.25, "total_iters": 8}, start_factor=0.5, end_factor=0.5, total_iters=4),
    "ExponentialLR": _schedule({"gamma": 0.9}, gamma=0.5),
    "PolynomialLR": _schedule({"total_iters": 9, "power": 1.0}, total_iters=5, power=2.0),
    "CosineAnnealingLR": _schedule({"T_max": 9}, T_max=5, eta_min=0.01),
    "CosineAnnealingWarmRestarts": _schedule({"T_0": 2}, T_0=5, T_mult=2, eta_min=0.01),
    "SequentialLR": _schedule(
        {"schedulers": _PARTS, "milestones": [2]}, schedulers=[_PARTS[1], _PARTS[0]], milestones=[1]
    ),
    "ChainedScheduler": _schedule({"schedulers": _PARTS}, schedulers=_PARTS[:1]),
    "CyclicLR": _schedule(
        _CYCLE,
        **{"base_lr": 0.02, "max_lr": 0.2, "step_size_up": 4, "base_momentum": 0.5, "max_momentum": 0.95},
        step_size_down=(9, {"step_size_up": 2}),
        mode=("triangular2", {"step_size_up": 1}),
        gamma=(0.5, {"mode": "exp_range"}),
        cycle_momentum=False,
    )
    | {"scale_mode": unchanged("iterations", before=_CYCLE), "scale_fn": refused("x", "lr_scheduler", before=_CYCLE)},
    "OneCycleLR": _schedule(
        _ONE_CYCLE,
        **{"max_lr": 0.2, "total_steps": 20, "pct_start": 0.8, "anneal_strategy": "linear", "three_phase": True},
        **{"cycle_momentum": False, "base_momentum": 0.5, "max_momentum": 0.99},
        **{"div_factor": (4.0, {"pct_start": 0.8}), "final_div_factor": 4.0},
        **{"epochs": (20, _BY_LENGTH), "steps_per_epoch": (2, _BY_LENGTH)},
    ),
    "ReduceLROnPlateau": _schedule(
        _PLATEAU,
        **{"factor": 0.1, "patience": 1, "threshold": 0.01, "threshold_mode": "abs", "cooldown": 5},
        **{"min_lr": 0.02, "eps": 0.02},
    )
    | {"mode": changed("max", before=_PLATEAU, along={"trainer.monitor": "max val_balanced_accuracy"})},
}


def _in_schedule(kind: str, case: Case) -> Case:
    """The case of a schedule's argument on a run with that schedule."""
    monitored = {"trainer.validate": True, "trainer.monitor": "min val_loss"} if kind == "ReduceLROnPlateau" else {}
    before = {"lr_scheduler": {"type": kind, "args": dict(case.before)}, **monitored}
    return Case(case.effect, case.value, before, case.along, case.line)


_STEPPED = {"lr_scheduler": {"type": "StepLR", "args": {"step_size": 2}}, "data_loader.args.batch_size": 26}
_ONE_EXPERT = {"arch.args.num_experts": 1, "arch.args.share_layer2": False, "loss.args.tau_list": [1]}
_PLAIN = {"loss": {"type": "CrossEntropyLoss"}}
_LIMITS = {"loss.args.tau_list": "limits", "loss.tau_min": 0.0, "loss.tau_max": 2.0}
_EMA = {"method": {"type": "EMA", "args": {"decay": 0.5}}}
_SWA = {"method": {"type": "SWA", "args": {"start": 0.0}}}
_CUTMIX = {"combiner.mode": "cutmix"}
_FINETUNED = {"finetuning_combiner": {"mode": "mixup", "mixup": {"alpha": 0.4}, "initial_epoch": 1}}
_IMAGENET = {"arch": {"type": "ResNet10Model", "args": {"num_classes": 10, "returns_feat": True, "num_experts": 2}}}
_SHIFTED = {"data_loader": "shifted", "arch.args.num_classes": 100}
_LISTS = {"data_loader": "lists"}
_FOLDERS = {"data_loader": "folders", "arch.args.num_classes": 3}
_SPLITS = {"data_loader": "split_folders", "arch.args.num_classes": 3}
_MICROSCOPE = {"data_loader": "microscope", "arch.args.num_classes": 3}
_PHOTOGRAPHS = {"data_loader": "photographs", "arch.args.num_classes": 3}
_CACHED = {"data_loader": "cached", "arch.args.num_classes": 3}
_SHARED = {"arch.args.share_layer2": True}
_OTHER_NETWORK = "does not fit the network of the configuration"
_NOT_THE_NETWORKS = "the checkpoint's weights are taken"

CASES: dict[str, Case] = {
    **{f"optimizer.args.{name}": case for name, case in OPTIMIZERS.items()},
    **{
        f"lr_scheduler.args.{name} of {kind}": _in_schedule(kind, case)
        for kind, cases in SCHEDULES.items()
        for name, case in cases.items()
    },
    "lr_scheduler.args.last_epoch": refused(3, "lr_scheduler"),
    "lr_scheduler.args.lr_lambda": refused("x", "lr_scheduler"),
    "lr_scheduler.type": changed({"type": "ExponentialLR", "args": {"gamma": 0.5}}),
    "lr_scheduler.step_unit": changed("step", before=_STEPPED),
    "optimizer.type": refused({"type": "Adam", "args": {}}, "another optimiser can't go on"),
    "name": unchanged("other"),
    "seed": changed(7),
    "n_gpu": changed(2),
    "metrics": unchanged(["top_k_acc"]),
    "add_extra_info": changed(False, before=_ONE_EXPERT),
    "trainable": refused(["backbone.linear*"], "moments are those of other parameters"),
    "initialise": refused({"checkpoint": "first.pth"}, _NOT_THE_NETWORKS),
    "initialise.checkpoint": refused("other.pth", _NOT_THE_NETWORKS, before={"initialise": "first"}),
    "initialise.reset": refused(["backbone.linear*"], _NOT_THE_NETWORKS, before={"initialise": "first"}),
    "initialise.strict": refused(False, _NOT_THE_NETWORKS, before={"initialise": "first"}),
    # the network
    "arch.type": refused({"type": "ResNet32Model"}, _OTHER_NETWORK),
    "arch.args.model_name of TimmModel": refused("resnet18", "model_name"),
    "arch.args.num_classes of ExpertModel": refused(12, "does not fit the data, which have 10 classes"),
    "arch.args.num_experts of ExpertsModel": refused(3, _OTHER_NETWORK, along={"loss.args.tau_list": [0, 1, 2]}),
    "arch.args.use_norm of ExpertsModel": refused(False, _OTHER_NETWORK),
    "arch.args.reduce_dimension of ExpertsModel": refused(True, _OTHER_NETWORK),
    "arch.args.layer2_output_dim of ExpertsModel": refused(16, _OTHER_NETWORK),
    "arch.args.layer3_output_dim of ExpertsModel": refused(16, _OTHER_NETWORK),
    "arch.args.layer4_output_dim of ExpertsModel": refused(16, _OTHER_NETWORK, before=_IMAGENET),
    "arch.args.share_layer2 of ExpertsModel": refused(True, _OTHER_NETWORK),
    "arch.args.share_layer3 of ExpertsModel": refused(True, _OTHER_NETWORK, along=_SHARED),
    "arch.args.returns_feat of ExpertModel": unchanged(False, before=_PLAIN),
    "arch.args.s of ExpertsModel": changed(3.0),
    "arch.args.dropout of ExpertsModel": changed(0.5),
    "arch.args.num_experts of TimmModel": refused(3, _OTHER_NETWORK, along={"loss.args.tau_list": [0, 1, 2]}),
    "arch.args.use_norm of TimmModel": refused(False, _OTHER_NETWORK),
    "arch.args.s of TimmModel": changed(3.0),
    "arch.args.dropout of TimmModel": changed(0.5),
    # the images
    "data_loader.type": changed("cifar"),
    "data_loader.args.batch_size of ImageDataLoader": changed(40),
    "data_loader.args.shuffle of ImageDataLoader": changed(False, before={"data_loader.args.batch_size": 40}),
    "data_loader.args.num_workers of ImageDataLoader": unchanged(1),
    "data_loader.args.training of ImageDataLoader": refused(False, "would train on the test images"),
    "data_loader.args.balanced of ImageDataLoader": changed(True),
    "data_loader.args.retain_epoch_size of ImageDataLoader": changed(
        False, before={"data_loader.args.balanced": True, "data_loader.args.batch_size": 200}
    ),
    "data_loader.args.validation_split of ImageDataLoader": changed(0.2),
    "data_loader.args.worker_timeout of ImageDataLoader": unchanged(60.0),
    "data_loader.args.data_dir of ArrayDataLoader": changed("other", before={"data_loader": "cifar"}),
    "data_loader.args.randaugm of ArrayDataLoader": changed(True),
    "data_loader.args.trivialaugm of ArrayDataLoader": changed(True),
    "data_loader.args.cutout of ArrayDataLoader": changed(True),
    "data_loader.args.max_per_class of ArrayDataLoader": changed(10),
    "data_loader.args.verify of ArrayDataLoader": unchanged(False),
    "data_loader.args.imb_type of ImbalanceArrayDataLoader": changed("step"),
    "data_loader.args.imb_factor of ImbalanceArrayDataLoader": changed(0.5),
    "data_loader.args.test_imb_factor of ShiftedTestArrayDataLoader": unchanged(0.5, before=_SHIFTED),
    "data_loader.args.reverse of ShiftedTestArrayDataLoader": unchanged(True, before=_SHIFTED),
    "data_loader.args.data_dir of FileDataLoader": changed("other", before=_FOLDERS),
    "data_loader.args.image_size of FileDataLoader": changed(24, before=_FOLDERS),
    "data_loader.args.color_jitter of FileDataLoader": changed(False, before=_FOLDERS),
    "data_loader.args.value_range of FileDataLoader": changed([200, 3500], before=_MICROSCOPE),
    "data_loader.args.apply_exif of FileDataLoader": changed(False, before=_MICROSCOPE),
    "data_loader.args.reduced_decoding of FileDataLoader": changed(True, before=_PHOTOGRAPHS),
    "data_loader.args.cache of FileDataLoader": changed(None, before=_CACHED),
    "data_loader.args.cache_side of FileDataLoader": changed(24, before=_CACHED),
    "data_loader.args.cache_format of FileDataLoader": changed("jpeg", before=_CACHED),
    "data_loader.args.randaugm of FileDataLoader": changed(True, before=_FOLDERS),
    "data_loader.args.max_per_class of FileDataLoader": changed(2, before=_FOLDERS),
    "data_loader.args.on_bad_image of FileDataLoader": unchanged("skip", before=_FOLDERS),
    "data_loader.args.mean of FileDataLoader": changed([0.1, 0.2, 0.3], before=_FOLDERS),
    "data_loader.args.std of FileDataLoader": changed([0.1, 0.2, 0.3], before=_FOLDERS),
    "data_loader.args.split_folders of ImageFolderDataLoader": changed({"train": "train"}, before=_SPLITS),
    "data_loader.args.test_fraction of ImageFolderDataLoader": changed(0.5, before=_FOLDERS),
    "data_loader.args.val_fraction of ImageFolderDataLoader": changed(0.3, before=_FOLDERS),
    "data_loader.args.copies_in_training of ImageFolderDataLoader": changed(True, before=_SPLITS),
    "data_loader.args.train_txt of ListDataLoader": changed("other", before=_LISTS),
    "data_loader.args.num_classes of ListDataLoader": refused(11, "does not fit the data", before=_LISTS),
    "data_loader.args.test_txt of ImageListDataLoader": unchanged("other", before=_LISTS),
    "data_loader.args.val_txt of ImageListDataLoader": unchanged("other", before=_LISTS),
    "data_loader.args.eval_txt of iNaturalistDataLoader": unchanged("other", before={"data_loader": "inaturalist"}),
    "loaders": changed("batches of 8", before={"loaders": "batches of 16"}),
    # what is minimised, and how
    "loss.type": changed({"type": "CrossEntropyLoss"}),
    "loss.tau_min": changed(1.0, before=_LIMITS),
    "loss.tau_max": changed(4.0, before=_LIMITS),
    "loss.return_expert_losses": unchanged(True),
    "loss.args.tau_list of BSExpertLoss": changed([0, 5]),
    "loss.args.eps of BSExpertLoss": changed(0.1),
    "combiner.mode": changed("cutmix"),
    "combiner.mixup.alpha": changed(4.0),
    "combiner.mixup.cutmix_alpha": changed(0.1, before=_CUTMIX),
    "combiner.mixup.target_mix_strategy": changed("mix_logits"),
    "finetuning_combiner": changed({"mode": "default", "initial_epoch": 1}),
    "finetuning_combiner.mode": changed("cutmix", before=_FINETUNED),
    "finetuning_combiner.mixup.alpha": changed(4.0, before=_FINETUNED),
    "finetuning_combiner.mixup.cutmix_alpha": changed(
        0.1, before={"finetuning_combiner": {**_FINETUNED["finetuning_combiner"], "mode": "cutmix"}}
    ),
    "finetuning_combiner.mixup.target_mix_strategy": changed("mix_logits", before=_FINETUNED),
    "finetuning_combiner.initial_epoch": changed(9, before={**_FINETUNED, "combiner.mode": "default"}),
    "method.type": refused({"type": "EMA"}, "EMA can't go on from what Supervised keeps"),
    "method.args.method of WrappedMethod": refused(
        {"type": "cRT"}, "the moments of other parameters", before={**_EMA, "initialise": "first"}
    ),
    "method.args.decay of EMA": changed(0.1, before=_EMA),
    "method.args.batchnorm of EMA": changed("reestimate", before=_EMA),
    "method.args.start of SWA": changed(0.95, before=_SWA),
    "method.args.every of SWA": changed(2, before=_SWA),
    "update_rule.type": changed({"type": "SAM"}),
    "update_rule.args.rho of SAM": changed(1.0, before={"update_rule": {"type": "SAM"}}),
    "update_rule.args.local of SAM": unchanged(True, before={"update_rule": {"type": "SAM"}}),
    # how long, how often, on what
    "trainer.epochs": unchanged(9),
    "trainer.save_dir": unchanged("elsewhere"),
    "trainer.save_period": unchanged(3),
    "trainer.checkpoint_minutes": unchanged(1.0),
    "trainer.keep_last": unchanged(2),
    "trainer.verbosity": unchanged(1),
    "trainer.monitor": unchanged("min loss"),
    "trainer.early_stop": unchanged(7),
    "trainer.validate": unchanged(True),
    "trainer.wandb": unchanged(True),
    "trainer.report": unchanged(False),
    "trainer.parallel": unchanged("none"),
    "trainer.sync_batchnorm": unchanged(True),
    "trainer.precision": changed("bf16"),
    "trainer.accumulate_steps": changed(2),
    "trainer.activation_checkpointing": unchanged(True),
    "trainer.compile": unchanged(True),
    "trainer.channels_last": unchanged(False),
    "trainer.on_nonfinite": unchanged("skip"),
    "trainer.max_skipped_steps": unchanged(7),
    "resume_state_dict_only": changed(True),
}
