"""Command-line flags that set keys of the configuration, as one table; and `--set a.b.c=VALUE` for all others."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from utils.config.assignments import add_assignment_flag, as_value, read_value, split_assignment


def _switch(text: str) -> Any:
    """A boolean, which published command lines write as 0 and 1."""
    return {"0": False, "1": True}.get(text, as_value(text))


def _list_or_text(text: str) -> Any:
    """A JSON list, else the string itself, even where it looks like a number."""
    value = as_value(text)
    return value if isinstance(value, list) else text


@dataclass(frozen=True)
class Override:
    """A flag (with its aliases), the key that it sets, a line of help, how its text is read, if it takes several."""

    flags: tuple[str, ...]
    path: str
    help: str
    read: Callable[[str], Any] = as_value
    several: bool = False

    @property
    def attribute(self) -> str:
        """The name under which argparse keeps the flag's value."""
        return self.flags[-1].lstrip("-")


def _group(*rows: tuple[Any, ...]) -> tuple[Override, ...]:
    return tuple(Override(tuple(flags.split("/")), *rest) for flags, *rest in rows)


OVERRIDES: dict[str, tuple[Override, ...]] = {
    "run": _group(
        ("-s/--seed", "seed", "seed of everything random (default 1); several: a run with each", as_value, True),
        ("--name", "name", "name of the run: the folder below <save_dir>/models/", str),
        ("--n_gpu", "n_gpu", "GPUs to train on, a process each; with none at hand the CPU trains"),
        ("--epochs", "trainer.epochs", "epochs to train"),
        ("--save_period", "trainer.save_period", "a checkpoint every so many epochs"),
        ("--save_dir", "trainer.save_dir", "folder for runs", str),
    ),
    "initial weights": _group(
        ("--initialise", "initialise.checkpoint", "checkpoint, state dict or torchvision:NAME to start from", str),
    ),
    "devices and memory": _group(
        (
            "--precision",
            "trainer.precision",
            "fp32, tf32, bf16, fp16, or auto: the fastest that is safe",
            str,
        ),
        ("--parallel", "trainer.parallel", "several GPUs by ddp (a process each), dp (one process), or none", str),
        (
            "--accumulate_steps",
            "trainer.accumulate_steps",
            "micro-batches that a process takes its share of a batch in; auto: as few as fit into the GPU",
        ),
        ("--activation_checkpointing", "trainer.activation_checkpointing", "true: less memory, more time", _switch),
        ("--compile", "trainer.compile", "true, reduce-overhead or max-autotune: torch.compile the network", _switch),
        ("--channels_last", "trainer.channels_last", "false: images with their channels outermost", _switch),
        ("--sync_batchnorm", "trainer.sync_batchnorm", "true: BatchNorm over the images of all GPUs", _switch),
    ),
    "optimiser and schedule": _group(
        ("--lr/--learning_rate", "optimizer.args.lr", "base learning rate"),
        ("--wd/--weight_decay", "optimizer.args.weight_decay", "weight decay, applied to every parameter"),
        ("--step1", "lr_scheduler.args.step1", "CustomLR: epoch of the first decay"),
        ("--step2", "lr_scheduler.args.step2", "CustomLR: epoch of the second decay"),
        ("--warmup", "lr_scheduler.args.warmup_epoch", "CustomLR: epochs of linear warm-up"),
        ("--gamma", "lr_scheduler.args.gamma", "CustomLR: factor of each decay"),
        ("--t_max", "lr_scheduler.args.T_max", "CosineAnnealingLR: epochs of the half cosine"),
        ("--eta_min", "lr_scheduler.args.eta_min", "CosineAnnealingLR: last learning rate"),
    ),
    "data": _group(
        ("--bs/--batch_size", "data_loader.args.batch_size", "images a step, of all GPUs together"),
        ("--data_dir", "data_loader.args.data_dir", "folder of the data set", str),
        (
            "--randaugm",
            "data_loader.args.randaugm",
            "true: the strong augmentation of the long recipes; published: as the published code applied it (CIFAR)",
            _switch,
        ),
        (
            "--cutout",
            "data_loader.args.cutout",
            "true: one square hole in each training image, and no rotation",
            _switch,
        ),
        ("--trivialaugm", "data_loader.args.trivialaugm", "true: TrivialAugmentWide in its place", _switch),
    ),
    "experts": _group(
        ("--num_experts", "arch.args.num_experts", "number of experts"),
        ("--use_norm", "arch.args.use_norm", "true: cosine classifier", _switch),
        ("--norm_scale", "arch.args.s", "scale of the cosine classifier"),
        ("--reduce_dimension", "arch.args.reduce_dimension", "true: narrower separate stages", _switch),
        ("--share_layer2", "arch.args.share_layer2", "true: one second stage for all experts", _switch),
        ("--share_layer3", "arch.args.share_layer3", "true: one third stage for all experts", _switch),
        ("--layer2_dimension", "arch.args.layer2_output_dim", "channels of the second stage"),
        ("--layer3_dimension", "arch.args.layer3_output_dim", "channels of the third stage"),
        ("--layer4_dimension", "arch.args.layer4_output_dim", "channels of the fourth stage"),
    ),
    "loss": _group(
        (
            "--tau_list",
            "loss.args.tau_list",
            'one τ an expert: "0;1;2", or "limits" or "uniform" within tau_min…tau_max',
            _list_or_text,
        ),
        ("--tau_min", "loss.tau_min", "least τ"),
        ("--tau_max", "loss.tau_max", "greatest τ"),
        ("--track_expert_losses", "loss.return_expert_losses", "true: log each expert's loss", _switch),
    ),
    "mixing": _group(
        ("--combiner_type", "combiner.mode", "default (no mixing), mixup, cutmix or mixup_cutmix", str),
        ("--mixup_alpha", "combiner.mixup.alpha", "α of mixup's Beta(α, α)"),
        ("--cutmix_alpha", "combiner.mixup.cutmix_alpha", "α of CutMix's Beta(α, α)"),
        ("--target_mix_strategy", "combiner.mixup.target_mix_strategy", "mix_input or mix_logits", str),
        (
            "--finetuning_start",
            "finetuning_combiner.initial_epoch",
            "epoch from which finetuning_combiner replaces combiner",
        ),
    ),
}

SWITCHES = (
    (("--val", "--validate"), "trainer.validate", True, "validate after each epoch"),
    (("--use-wandb",), "trainer.wandb", True, "log to Weights & Biases, too"),
    (("--no-report",), "trainer.report", False, "write no report.html after training and evaluating"),
)

_SET_FORM = "a.b.c=VALUE"


class _AsTyped(argparse.Action):
    """Keeps a flag's text (of a switch: nothing) together with the alias that was typed, which messages name.

    Of a flag that takes several texts and got one, it keeps that one; else a list of them.
    """

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        one = self.nargs == "+" and len(values) == 1
        setattr(namespace, self.dest, (values[0] if one else values, option_string))


def add_override_flags(parser: argparse.ArgumentParser) -> None:
    """Give a parser the whole table, a help group a row, and `--set`."""
    switches = parser.add_argument_group("switches")
    for flags, path, _, text in SWITCHES:
        dest = flags[-1].lstrip("-")
        switches.add_argument(*flags, dest=dest, action=_AsTyped, nargs=0, help=f"{text} [{path}]")
    for title, overrides in OVERRIDES.items():
        group = parser.add_argument_group(f"{title} (each overrides a key of the configuration)")
        for override in overrides:
            group.add_argument(
                *override.flags,
                dest=override.attribute,
                action=_AsTyped,
                nargs="+" if override.several else None,
                metavar="VALUE",
                help=f"{override.help} [{override.path}]",
            )
    group = parser.add_argument_group("any other key")
    text = "set any key of the configuration; VALUE is read as JSON, else as a string; may be repeated"
    add_assignment_flag(group, "--set", _SET_FORM, text)


def read_overrides(arguments: argparse.Namespace) -> dict[str, tuple[Any, str]]:
    """What the flags set: path → (value, where it was set); `--set` after the named flags.

    Raises:
        ConfigError: a value is JSON that can't be taken, or `--set` is not followed by a.b.c=VALUE.
    """
    found: dict[str, tuple[Any, str]] = {}
    for override in (override for group in OVERRIDES.values() for override in group):
        if (given := getattr(arguments, override.attribute, None)) is not None:
            text, flag = given
            found[override.path] = (read_value(text, flag, override.read), flag)
    for flags, path, value, _ in SWITCHES:
        if (given := getattr(arguments, flags[-1].lstrip("-"), None)) is not None:
            found[path] = (value, given[1])
    for assignment in getattr(arguments, "set", []):
        path, text = split_assignment("--set", assignment, _SET_FORM)
        found[path] = (read_value(text, f"--set {path}"), "--set")
    return found
