"""The command line that is published for `train.py`: every flag is understood and lands in the configuration."""

from __future__ import annotations

from typing import Any

import pytest

import train
from tests.scripts.command_line import ROOT
from trainer.config.run_config import find_problems
from trainer.evaluation.scripts import evaluation_parser
from utils.config.command_line import script_parser
from utils.config.parser import ConfigParser

CIFAR = ROOT / "configs/mixup/standard_training/config_cifar100_ir100_bs-experts.json"
IMAGENET = ROOT / "configs/mixup/standard_training/config_imagenet_lt_resnet50_bs-experts.json"

# flags, the key that they set, the value that it must have
LANDINGS: list[tuple[list[str], str, Any]] = [
    (["--n_gpu", "0"], "n_gpu", 0),
    (["--lr", "0.05"], "optimizer.args.lr", 0.05),
    (["--learning_rate", "0.05"], "optimizer.args.lr", 0.05),
    (["--wd", "5e-4"], "optimizer.args.weight_decay", 5e-4),
    (["--weight_decay", "0.0002"], "optimizer.args.weight_decay", 2e-4),
    (["--bs", "64"], "data_loader.args.batch_size", 64),
    (["--batch_size", "64"], "data_loader.args.batch_size", 64),
    (["--data_dir", "/data/cifar"], "data_loader.args.data_dir", "/data/cifar"),
    (["--name", "my_run"], "name", "my_run"),
    (["--epochs", "400"], "trainer.epochs", 400),
    (["--step1", "320"], "lr_scheduler.args.step1", 320),
    (["--step2", "360"], "lr_scheduler.args.step2", 360),
    (["--warmup", "10"], "lr_scheduler.args.warmup_epoch", 10),
    (["--gamma", "0.01"], "lr_scheduler.args.gamma", 0.01),
    (["--save_period", "10"], "trainer.save_period", 10),
    (["--save_dir", "out/x"], "trainer.save_dir", "out/x"),
    (["--reduce_dimension", "1"], "arch.args.reduce_dimension", True),
    (["--use_norm", "0"], "arch.args.use_norm", False),
    (["--share_layer2", "true"], "arch.args.share_layer2", True),
    (["--share_layer2", "1", "--share_layer3", "1"], "arch.args.share_layer3", True),
    (["--layer2_dimension", "24"], "arch.args.layer2_output_dim", 24),
    (["--layer3_dimension", "48"], "arch.args.layer3_output_dim", 48),
    (["--norm_scale", "16"], "arch.args.s", 16),
    (["--num_experts", "5"], "arch.args.num_experts", 5),
    (["--tau_list", "0;1;2"], "loss.args.tau_list", "0;1;2"),
    (["--tau_list", "uniform"], "loss.args.tau_list", "uniform"),
    (["--num_experts", "1", "--tau_list", "1"], "loss.args.tau_list", "1"),
    (["--tau_max", "3"], "loss.tau_max", 3),
    (["--tau_min", "-1"], "loss.tau_min", -1),
    (["--combiner_type", "mixup_cutmix"], "combiner.mode", "mixup_cutmix"),
    (["--mixup_alpha", "0.2"], "combiner.mixup.alpha", 0.2),
    (["--cutmix_alpha", "1.0"], "combiner.mixup.cutmix_alpha", 1.0),
    (["--target_mix_strategy", "mix_logits"], "combiner.mixup.target_mix_strategy", "mix_logits"),
    (["--randaugm", "1"], "data_loader.args.randaugm", True),
    (["--randaugm", "published"], "data_loader.args.randaugm", "published"),
    (["--cutout", "true"], "data_loader.args.cutout", True),
    (["--trivialaugm", "True"], "data_loader.args.trivialaugm", True),
    (["--finetuning_start", "180"], "finetuning_combiner.initial_epoch", 180),
    (["--track_expert_losses", "1"], "loss.return_expert_losses", True),
    (["-s", "5"], "seed", 5),
    (["--seed", "5"], "seed", 5),
    (["--val"], "trainer.validate", True),
    (["--validate"], "trainer.validate", True),
    (["--use-wandb"], "trainer.wandb", True),
    (["--no-report"], "trainer.report", False),
    (["--set", "data_loader.args.imb_factor=0.02"], "data_loader.args.imb_factor", 0.02),
    (["--set", "combiner.mixup.alpha=1"], "combiner.mixup.alpha", 1),
]


def parsed(config: object, flags: list[str]) -> dict[str, Any]:
    parser = ConfigParser.from_args(train.build_parser().parse_args(["-c", str(config), *flags]))
    parser.validate(find_problems)
    return parser.config


def at(config: dict[str, Any], path: str) -> Any:
    for name in path.split("."):
        config = config[name]
    return config


@pytest.mark.parametrize(("flags", "path", "value"), LANDINGS, ids=[" ".join(flags) for flags, _, _ in LANDINGS])
def test_a_flag_lands_in_the_configuration(flags: list[str], path: str, value: Any) -> None:
    found = at(parsed(CIFAR, flags), path)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("flags", "path", "value"),
    [
        (["--t_max", "90"], "lr_scheduler.args.T_max", 90),
        (["--eta_min", "0.001"], "lr_scheduler.args.eta_min", 0.001),
        (["--layer4_dimension", "384"], "arch.args.layer4_output_dim", 384),
    ],
)
def test_a_flag_of_the_large_data_sets_lands_in_the_configuration(flags: list[str], path: str, value: Any) -> None:
    assert at(parsed(IMAGENET, flags), path) == value


def test_all_other_keys_stay_as_the_file_has_them() -> None:
    plain, changed = parsed(CIFAR, []), parsed(CIFAR, ["--lr", "0.5", "--set", "name=x"])
    plain["optimizer"]["args"]["lr"], plain["name"] = 0.5, "x"
    assert changed == plain


def test_automatic_resuming_stands_in_the_help_of_training_only() -> None:
    said = " ".join(train.build_parser().format_help().split())
    assert "checkpoint to resume from; auto: the newest of this configuration's runs" in said
    assert "ir40_bs-experts.json -r auto" in said
    assert "auto" not in script_parser("Evaluate.", "").format_help()


def test_what_and_where() -> None:
    parser = train.build_parser()
    short = parser.parse_args(["-c", "a.json", "-r", "b.pth", "-d", "0,1", "-l", "log.json"])
    long = parser.parse_args(["--config", "a.json", "--resume", "b.pth", "--device", "0,1", "--log-config", "log.json"])
    assert short == long
    assert (short.config, short.resume, short.device, short.log_config) == ("a.json", "b.pth", "0,1", "log.json")


@pytest.mark.parametrize("flags", [["--validate"], ["--val"], ["--validate", "1"], ["--val", "True"], []])
def test_evaluation_accepts_the_published_validate_and_does_as_without(flags: list[str]) -> None:
    given = vars(evaluation_parser("", "").parse_args(["-r", "a.pth", *flags]))
    plain = vars(evaluation_parser("", "").parse_args(["-r", "a.pth"]))
    del given["validate"], plain["validate"]
    assert given == plain
    assert given["resume"] == "a.pth"
