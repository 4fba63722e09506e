"""Flags of `train.py`: each lands at its published place, read as what it is; `--set` reaches the rest."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from utils.config.overrides import add_override_flags, read_overrides
from utils.errors import ConfigError

FLAGS = [  # contract, section 1: flag, path, text on the command line, value in the configuration
    ("--n_gpu", "n_gpu", "2", 2),
    ("--lr", "optimizer.args.lr", "0.05", 0.05),
    ("--learning_rate", "optimizer.args.lr", "1e-3", 0.001),
    ("--wd", "optimizer.args.weight_decay", "5e-4", 0.0005),
    ("--weight_decay", "optimizer.args.weight_decay", "0", 0),
    ("--bs", "data_loader.args.batch_size", "64", 64),
    ("--batch_size", "data_loader.args.batch_size", "128", 128),
    ("--data_dir", "data_loader.args.data_dir", "./data/CIFAR-100", "./data/CIFAR-100"),
    ("--name", "name", "my run", "my run"),
    ("--epochs", "trainer.epochs", "400", 400),
    ("--step1", "lr_scheduler.args.step1", "320", 320),
    ("--step2", "lr_scheduler.args.step2", "360", 360),
    ("--warmup", "lr_scheduler.args.warmup_epoch", "10", 10),
    ("--gamma", "lr_scheduler.args.gamma", "0.01", 0.01),
    ("--t_max", "lr_scheduler.args.T_max", "180", 180),
    ("--eta_min", "lr_scheduler.args.eta_min", "0.0", 0.0),
    ("--save_period", "trainer.save_period", "90", 90),
    ("--save_dir", "trainer.save_dir", "saved/x", "saved/x"),
    ("--reduce_dimension", "arch.args.reduce_dimension", "true", True),
    ("--num_experts", "arch.args.num_experts", "7", 7),
    ("--use_norm", "arch.args.use_norm", "False", False),
    ("--share_layer2", "arch.args.share_layer2", "True", True),
    ("--share_layer3", "arch.args.share_layer3", "false", False),
    ("--layer2_dimension", "arch.args.layer2_output_dim", "24", 24),
    ("--layer3_dimension", "arch.args.layer3_output_dim", "48", 48),
    ("--layer4_dimension", "arch.args.layer4_output_dim", "384", 384),
    ("--norm_scale", "arch.args.s", "16", 16),
    ("--tau_list", "loss.args.tau_list", "0;1;2", "0;1;2"),
    ("--tau_max", "loss.tau_max", "2.5", 2.5),
    ("--tau_min", "loss.tau_min", "-1", -1),
    ("--combiner_type", "combiner.mode", "mixup_cutmix", "mixup_cutmix"),
    ("--mixup_alpha", "combiner.mixup.alpha", "0.4", 0.4),
    ("--cutmix_alpha", "combiner.mixup.cutmix_alpha", "1", 1),
    ("--target_mix_strategy", "combiner.mixup.target_mix_strategy", "mix_logits", "mix_logits"),
    ("--randaugm", "data_loader.args.randaugm", "true", True),
    ("--cutout", "data_loader.args.cutout", "true", True),
    ("--trivialaugm", "data_loader.args.trivialaugm", "true", True),
    ("--finetuning_start", "finetuning_combiner.initial_epoch", "180", 180),
    ("--track_expert_losses", "loss.return_expert_losses", "true", True),
]
SWITCHES = [
    "--reduce_dimension",
    "--use_norm",
    "--share_layer2",
    "--share_layer3",
    "--randaugm",
    "--cutout",
    "--trivialaugm",
    "--track_expert_losses",
]


def overrides(*arguments: str) -> dict[str, tuple[Any, str]]:
    parser = argparse.ArgumentParser()
    add_override_flags(parser)
    return read_overrides(parser.parse_args(arguments))


def same(first: Any, second: Any) -> bool:
    return first == second and type(first) is type(second)


@pytest.mark.parametrize(("flag", "path", "text", "value"), FLAGS)
def test_a_flag_lands_at_its_published_path(flag: str, path: str, text: str, value: Any) -> None:
    ((found_path, (found, origin)),) = overrides(flag, text).items()
    assert found_path == path
    assert same(found, value)
    assert origin == flag


def test_the_alias_that_was_typed_last_counts_and_is_the_one_that_messages_name() -> None:
    assert overrides("--lr", "1", "--learning_rate", "2") == {"optimizer.args.lr": (2, "--learning_rate")}
    assert overrides("-s", "3") == {"seed": (3, "-s")}
    assert overrides("--validate") == {"trainer.validate": (True, "--validate")}
    assert overrides("--validate", "--val") == {"trainer.validate": (True, "--val")}


def test_no_flag_sets_nothing() -> None:
    assert overrides() == {}


def test_all_flags_can_be_given_at_once() -> None:
    chosen = {path: (flag, text, value) for flag, path, text, value in FLAGS}
    found = overrides(*(part for flag, text, _ in chosen.values() for part in (flag, text)))
    assert {path: value for path, (value, _) in found.items()} == {path: row[2] for path, row in chosen.items()}


@pytest.mark.parametrize("flag", SWITCHES)
def test_a_switch_takes_0_and_1_as_published_command_lines_write_them(flag: str) -> None:
    for text, value in (("1", True), ("0", False)):
        ((found, _),) = overrides(flag, text).values()
        assert found is value


@pytest.mark.parametrize("flag", ["--name", "--save_dir", "--data_dir", "--tau_list"])
@pytest.mark.parametrize("text", ["2024", "1", "null", "1e3", "true", "007"])
def test_a_name_or_path_stays_text_even_where_it_looks_like_json(flag: str, text: str) -> None:
    ((found, _),) = overrides(flag, text).values()
    assert same(found, text)


def test_tau_list_may_also_be_a_json_list() -> None:
    ((found, _),) = overrides("--tau_list", "[0, 1.25, 2.5]").values()
    assert found == [0, 1.25, 2.5]


@pytest.mark.parametrize(("text", "value"), [(".1", 0.1), ("1.", 1.0), ("+.5", 0.5), ("-.5", -0.5), ("1.e-2", 0.01)])
def test_numbers_may_be_written_as_python_does(text: str, value: float) -> None:
    ((found, _),) = overrides(f"--learning_rate={text}").values()
    assert same(found, value)


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("a.b.c=1", "a.b.c", 1),
        ("a=1.5", "a", 1.5),
        ("a.b=[0, 1, 2]", "a.b", [0, 1, 2]),
        ('a={"type": "SGD"}', "a", {"type": "SGD"}),
        ("a=null", "a", None),
        ("a=None", "a", None),
        ("a=true", "a", True),
        ("a=hello", "a", "hello"),
        ('a="5"', "a", "5"),
        ("a=x=y", "a", "x=y"),
        ("a=", "a", ""),
        ("a= b c ", "a", " b c "),
        (" a.b =1", "a.b", 1),
        ("a=0;1;2", "a", "0;1;2"),
    ],
)
def test_set_reads_json_else_a_string(assignment: str, path: str, value: Any) -> None:
    found = overrides("--set", assignment)
    assert found == {path: (value, "--set")}
    assert same(found[path][0], value)


def test_set_may_be_repeated_and_wins_over_a_named_flag() -> None:
    found = overrides("--set", "trainer.epochs=3", "--set", "n_gpu=0", "--epochs", "7")
    assert found == {"trainer.epochs": (3, "--set"), "n_gpu": (0, "--set")}


@pytest.mark.parametrize("assignment", ["trainer.epochs", "=3", " =3", ""])
def test_set_without_a_key_or_a_value_is_told(assignment: str) -> None:
    with pytest.raises(ConfigError, match=r"^--set .*: expected a\.b\.c=VALUE$"):
        overrides("--set", assignment)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--set", 'a={"b": 1, "b": 2}'), "--set a: the key 'b' appears twice in one object; remove one"),
        (("--set", "a=" + "[" * 900 + "]" * 900), "--set a: can't be read: nested more than 100 deep"),
        (("--lr", "9" * 5000), "--lr: can't be read: a number has thousands of digits"),
        (("-s", "9" * 5000), "-s: can't be read: a number has thousands of digits"),
        (("--tau_list", "[" * 5000), None),
    ],
)
def test_a_value_that_can_not_be_taken_is_one_line_with_its_flag(arguments: tuple[str, str], line: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        overrides(*arguments)
    assert str(caught.value) == (line or "--tau_list: can't be read: nested more than 100 deep")


def test_a_script_without_the_table_overrides_nothing() -> None:
    assert read_overrides(argparse.Namespace(config="c.json", resume=None)) == {}
