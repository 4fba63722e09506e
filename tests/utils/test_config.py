"""`ConfigParser`: where a configuration comes from, what overrides it, what it builds, where its runs live."""

from __future__ import annotations

import argparse
import json
import types
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.odd_files import ODD_KINDS, put_odd
from utils.config.json_files import read_json
from utils.config.overrides import add_override_flags
from utils.config.parser import ConfigParser
from utils.errors import ConfigError, Problem, UserError
from utils.files import writing as files

CONFIG: dict[str, Any] = {
    "name": "run",
    "n_gpu": 1,
    "optimizer": {"type": "SGD", "args": {"lr": 0.1, "momentum": 0.9}},
    "loss": {"type": "BSExpertLoss", "args": {"tau_list": [0, 1, 2]}},
    "trainer": {"epochs": 200, "save_dir": "saved"},
}


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(CONFIG), encoding="utf8")
    return path


def parse(*arguments: str) -> ConfigParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("-c", "--config")
    parser.add_argument("-r", "--resume")
    add_override_flags(parser)
    return ConfigParser.from_args(parser.parse_args(arguments))


# --- reading ----------------------------------------------------------------------------------------------------


def test_the_file_given_by_c_is_the_configuration(config_file: Path) -> None:
    config = parse("-c", str(config_file))
    assert config.config == CONFIG
    assert config["name"] == "run"
    assert config.get("finetuning_combiner") is None
    assert config.get("finetuning_combiner", 3) == 3
    assert config.resume is None


def test_a_checkpoint_brings_the_configuration_beside_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"name": "beside"}), encoding="utf8")
    checkpoint = tmp_path / "model_best.pth"
    checkpoint.write_bytes(b"")
    config = parse("-r", str(checkpoint))
    assert config["name"] == "beside"
    assert config.resume == checkpoint


def test_a_file_given_by_c_comes_before_the_one_beside_the_checkpoint(tmp_path: Path, config_file: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"name": "beside"}), encoding="utf8")
    checkpoint = tmp_path / "model_best.pth"
    checkpoint.write_bytes(b"")
    config = parse("-c", str(config_file), "-r", str(checkpoint))
    assert config["name"] == "run"
    assert config.resume == checkpoint


def test_without_file_and_checkpoint_the_user_is_told_what_to_give() -> None:
    with pytest.raises(UserError, match=r"-c FILE.*-r FILE"):
        parse()


@pytest.mark.parametrize("flags", [("-c", "nowhere.json"), ("-r", "nowhere.pth")])
def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, str]) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^nowhere\.\w+: no such") as caught:
        parse(*flags)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_configuration_beside_it_is_told(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model_best.pth"
    checkpoint.write_bytes(b"")
    with pytest.raises(
        UserError, match=r"model_best\.pth: no config\.json lies beside .* \(given by -r\); name one with -c FILE$"
    ):
        parse("-r", str(checkpoint))


def test_an_empty_name_of_a_checkpoint_is_no_new_run(config_file: Path) -> None:
    with pytest.raises(UserError, match=r"^-r '': expected the name of a checkpoint$"):
        parse("-c", str(config_file), "-r", "")


def test_a_run_folder_in_place_of_a_checkpoint_is_told_with_its_newest(tmp_path: Path) -> None:
    def told() -> str:
        with pytest.raises(UserError, match=r": is a folder, not a checkpoint \(given by -r\); ") as caught:
            parse("-r", str(tmp_path))
        return str(caught.value)

    assert told().endswith("it holds no checkpoint")
    (tmp_path / "checkpoint-epoch-of-mine.pth").touch()
    assert told().endswith("it holds no checkpoint")
    for name in ("checkpoint-epoch9.pth", "checkpoint-epoch10-step5.pth", "checkpoint-epoch10-step40.pth"):
        (tmp_path / name).touch()
    assert told().endswith(f"its newest checkpoint is {tmp_path}/checkpoint-epoch10-step40.pth")
    (tmp_path / "checkpoint-epoch10.pth").touch()
    assert told().endswith(f"its newest checkpoint is {tmp_path}/checkpoint-epoch10.pth")


def test_broken_json_names_its_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text('{\n  "name": "run",\n  "n_gpu": 1,,\n}', encoding="utf8")
    with pytest.raises(UserError, match=r"broken\.json: not valid JSON: .* at line 3, column 14$"):
        read_json(path)


@pytest.mark.parametrize("content", [b"[1, 2]", b"3", b"null", b"", b"\xff\xfe\x00", b"{"])
def test_a_file_that_holds_no_json_object_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"odd\.json: ") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be read as a configuration"):
        read_json(tmp_path)


# --- overriding -------------------------------------------------------------------------------------------------


def test_flags_override_the_file_and_leave_the_rest(config_file: Path) -> None:
    config = parse("-c", str(config_file), "--lr", "0.5", "--set", "trainer.monitor=max val_accuracy")
    expected = json.loads(json.dumps(CONFIG))
    expected["optimizer"]["args"]["lr"] = 0.5
    expected["trainer"]["monitor"] = "max val_accuracy"
    assert config.config == expected


def test_set_makes_the_sections_it_needs(config_file: Path) -> None:
    config = parse("-c", str(config_file), "--finetuning_start", "180", "--set", "a.b.c=[1]")
    assert config["finetuning_combiner"] == {"initial_epoch": 180}
    assert config["a"] == {"b": {"c": [1]}}


@pytest.mark.parametrize("assignment", ["name.x=1", "loss.args.tau_list.0=1", "n_gpu.a.b=1"])
def test_setting_a_key_below_a_plain_value_is_told(config_file: Path, assignment: str) -> None:
    parent = assignment.split("=", maxsplit=1)[0].rpartition(".")[0].removesuffix(".a")
    with pytest.raises(ConfigError, match=rf"{parent} is a single value, not a section \(set by --set\)$"):
        parse("-c", str(config_file), "--set", assignment)


def test_the_given_dictionary_stays_as_it_was() -> None:
    given = json.loads(json.dumps(CONFIG))
    config = ConfigParser(given, source="x.json", overrides={"optimizer.args.lr": (9, "--lr")})
    config.config["loss"]["args"]["tau_list"].append(3)
    assert given == CONFIG


# --- telling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "problem", "origin"),
    [
        ({}, Problem("optimizer.args.lr", "wrong"), "(in x.json)"),
        (
            {"optimizer.args.lr": (1, "--learning_rate")},
            Problem("optimizer.args.lr", "wrong"),
            "(set by --learning_rate)",
        ),
        ({"optimizer.args.lr": (1, "--learning_rate")}, Problem("optimizer.args.momentum", "wrong"), "(in x.json)"),
        (
            {"loss.args.tau_list": ([0, "x"], "--tau_list")},
            Problem("loss.args.tau_list[1]", "wrong"),
            "(set by --tau_list)",
        ),
        ({"optimizer": ({"type": "SGD"}, "--set")}, Problem("optimizer.args.lr", "wrong"), "(set by --set)"),
        (
            {"finetuning_combiner.initial_epoch": (3, "--finetuning_start")},
            Problem("finetuning_combiner.type", "is missing"),
            "(set by --finetuning_start)",
        ),
        (
            {"optimizer.args.lr": (-1, "--learning_rate")},
            Problem("optimizer", "invalid learning rate: -1"),
            "(in x.json, with --learning_rate)",
        ),
        ({"name": ("a", "--name")}, Problem("n_gpu", "wrong"), "(in x.json)"),
    ],
)
def test_a_problem_tells_where_it_was_set(overrides: dict[str, tuple[Any, str]], problem: Problem, origin: str) -> None:
    config = ConfigParser(CONFIG, source="x.json", overrides=overrides)
    with pytest.raises(ConfigError) as caught:
        config.validate(lambda _: [problem])
    assert str(caught.value) == f"{problem} {origin}"
    assert caught.value.problems[0].path == problem.path


def test_validation_raises_all_problems_together_and_nothing_without_one() -> None:
    config = ConfigParser(CONFIG, source="x.json")
    with pytest.raises(ConfigError) as caught:
        config.validate(lambda content: [Problem(key, "wrong") for key in content])
    assert caught.value.problems == [Problem(key, "wrong (in x.json)") for key in CONFIG]
    config.validate(lambda _: [])


# --- building ---------------------------------------------------------------------------------------------------


def test_init_obj_builds_what_a_section_names() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimiser = ConfigParser(CONFIG, source="x.json").init_obj("optimizer", torch.optim, [weight], weight_decay=0.5)
    assert type(optimiser) is torch.optim.SGD
    (group,) = optimiser.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 0.5)
    assert group["params"][0] is weight


def test_init_obj_resolves_only_what_a_module_exports() -> None:
    class Known:
        def __init__(self, a: int = 0) -> None:
            self.a = a

    module = types.ModuleType("components")
    module.Known = Known  # type: ignore[attr-defined]
    module.Hidden = Known  # type: ignore[attr-defined]
    module.__all__ = ["Known"]  # type: ignore[attr-defined]
    assert ConfigParser({"part": {"type": "Known", "args": {"a": 1}}}, source="x.json").init_obj("part", module).a == 1
    assert ConfigParser({"part": {"type": "Known"}}, source="x.json").init_obj("part", module).a == 0
    for name in ("Hidden", "__dict__", "__all__", "nowhere"):
        config = ConfigParser({"part": {"type": name}}, source="x.json")
        with pytest.raises(ConfigError, match=rf"^part\.type: '{name}' is not one of Known.* \(in x\.json\)$"):
            config.init_obj("part", module)


def test_init_obj_refuses_arguments_that_the_program_sets() -> None:
    config = ConfigParser(CONFIG, source="x.json")
    with pytest.raises(ConfigError, match=r"^optimizer\.args\.lr: is set by the program"):
        config.init_obj("optimizer", torch.optim, [torch.nn.Parameter(torch.ones(1))], lr=1)


def test_a_value_that_a_constructor_refuses_is_one_line_with_its_origin() -> None:
    config = ConfigParser(CONFIG, source="x.json", overrides={"optimizer.args.lr": (-1, "--learning_rate")})
    with pytest.raises(ConfigError, match=r"^optimizer: .*-1.*--learning_rate") as caught:
        config.init_obj("optimizer", torch.optim, [torch.nn.Parameter(torch.ones(1))])
    assert "\n" not in str(caught.value)


# --- runs -------------------------------------------------------------------------------------------------------


def run_config(tmp_path: Path, **overrides: Any) -> ConfigParser:
    config = CONFIG | {"trainer": {"save_dir": str(tmp_path / "saved")}} | overrides
    return ConfigParser(config, source="x.json")


def freeze_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    class Frozen(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Frozen:
            return cls(2024, 3, 4, 5, 6, 7)

    monkeypatch.setattr(files, "datetime", Frozen)


def test_a_run_lives_below_save_dir_models_and_its_name_with_the_overridden_configuration(tmp_path: Path) -> None:
    config = run_config(tmp_path, name="größe")
    folder = config.make_run_folder()
    assert folder.parent == tmp_path / "saved" / "models" / "größe"
    assert json.loads((folder / "config.json").read_text(encoding="utf8")) == config.config
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freeze_the_clock(monkeypatch)
    folders = [run_config(tmp_path).make_run_folder() for _ in range(5)]
    assert len(set(folders)) == 5
    assert all("20240304_050607" in folder.name for folder in folders)


def test_runs_started_concurrently_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freeze_the_clock(monkeypatch)
    configs = [run_config(tmp_path, n_gpu=number) for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(ConfigParser.make_run_folder, configs))
    assert len(set(folders)) == len(folders)
    assert [json.loads((folder / "config.json").read_text())["n_gpu"] for folder in folders] == list(range(24))


def test_a_file_in_the_way_of_the_run_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "saved").write_text("not a folder")
    with pytest.raises(UserError, match="can't make a folder for the run") as caught:
        run_config(tmp_path).make_run_folder()
    assert "\n" not in str(caught.value)


def test_constructing_a_parser_touches_no_file(tmp_path: Path) -> None:
    run_config(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_stands_twice_in_one_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "twice.json").write_text('{"name": "a", "trainer": {"epochs": 1, "epochs": 200}}')
    with pytest.raises(UserError, match=r"twice\.json: the key 'epochs' appears twice"):
        read_json(tmp_path / "twice.json")


@pytest.mark.parametrize("kind", ODD_KINDS)
@pytest.mark.parametrize("name", ["checkpoint.pth", "config.json"])
def test_what_is_no_file_in_the_place_of_a_runs_files_is_refused_by_name(tmp_path: Path, name: str, kind: str) -> None:
    for each in ("checkpoint.pth", "config.json"):
        if each == name:
            put_odd(tmp_path / each, kind)
        else:
            (tmp_path / each).write_text("{}")
    told = "is a folder" if (name, kind) == ("checkpoint.pth", "folder") else ODD_KINDS[kind]
    with pytest.raises(UserError, match=rf"{name}: .*{told}"):
        parse("-r", str(tmp_path / "checkpoint.pth"))
