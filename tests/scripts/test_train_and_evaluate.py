"""From a configuration to the table, with the scripts as people use them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data_loader.cifar_files import write_cifar
from tests.forks import script_in_fork
from tests.scripts.command_line import ROOT, Ended, Shell, files_below, in_own_process, the_run
from tests.trainer.small_runs import small_config

ELEVEN = [f"{d}{r}" for d, rs in (("forward", (50, 25, 10, 5, 2)), ("backward", (2, 5, 10, 25, 50))) for r in rs]
ELEVEN.insert(5, "uniform")
# 50 test images a class: ⌊50 · r^(−i/9)⌋ over i = 0 … 9
SIZES = {
    f"{d}{r}": sum(int(50 * (1 / r) ** (i / 9)) for i in range(10))
    for r in (2, 5, 10, 25, 50)
    for d in ("forward", "backward")
}
SIZES["uniform"] = 500


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A run of two epochs, made by `train.py` in a process of its own."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.json").write_text(
        json.dumps(small_config(trainer__verbosity=2, trainer__monitor="max val_accuracy"))
    )
    ended = in_own_process(
        "train.py", "-c", folder / "small.json", "--val", "--save_dir", folder / "saved", "--lr", "0.01"
    )
    return the_run(folder / "saved"), ended


def results(run: Path) -> list[dict[str, Any]]:
    return json.loads((run / "results.json").read_text(encoding="utf8"))["results"]


def test_train_leaves_a_complete_run(trained: tuple[Path, Ended]) -> None:
    run, ended = trained
    assert (ended.code, ended.err) == (0, "")
    names = {path.name for path in run.iterdir()}
    assert {"config.json", "checkpoint-epoch1.pth", "checkpoint-epoch2.pth", "model_best.pth", "info.log"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    config = json.loads((run / "config.json").read_text(encoding="utf8"))
    assert (config["optimizer"]["args"]["lr"], config["seed"], config["trainer"]["validate"]) == (0.01, 1, True)
    assert "epoch 2/2" in (run / "info.log").read_text(encoding="utf8")
    assert f"test.py -r {run}/checkpoint-epoch2.pth" in ended.out
    content = torch.load(run / "checkpoint-epoch2.pth", weights_only=True)
    assert {"state_dict", "optimizer", "lr_scheduler", "epoch", "config", "arch"} <= set(content)


def test_test_and_the_sweep_print_tables_and_keep_them(trained: tuple[Path, Ended]) -> None:
    run, _ = trained
    checkpoint = run / "checkpoint-epoch2.pth"
    uniform = script_in_fork("test.py", "-r", checkpoint)
    assert (uniform.code, uniform.err) == (0, "")
    assert [row["predictor"] for row in results(run)] == ["ensemble", "expert 0", "expert 1"]
    for word in ("ensemble", "expert 1", "500", "training images"):
        assert word in uniform.out

    sweep = script_in_fork("test_all_cifar.py", "-r", checkpoint)
    assert (sweep.code, sweep.err) == (0, "")
    assert "no need to run the network again" in sweep.out
    rows = [row for row in results(run) if row["protocol"] == "shifts"]
    assert [row["distribution"] for row in rows] == ELEVEN
    assert {row["distribution"]: row["images"] for row in rows} == SIZES
    lines = sweep.out.splitlines()
    table = [line.split() for line in lines if line.split() and line.split()[0] in ELEVEN]
    assert [cells[0] for cells in table] == ELEVEN
    for cells, row in zip(table, rows, strict=True):
        assert cells[1] == str(row["images"])
        assert cells[2] == f"{100 * row['accuracy']:.2f}"


def test_the_known_prior_adds_rows_and_the_network_does_not_run_again(
    trained: tuple[Path, Ended], shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = trained
    assert shell("test_all_cifar.py", "-r", run / "model_best.pth").code == 0
    before = results(run)

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("the network ran a second time")

    monkeypatch.setattr("trainer.evaluation.checkpoint_networks.predict", refuse)
    ended = shell("test_all_cifar.py", "-r", run / "model_best.pth", "--posthoc_bias_correction")
    assert ended.code == 0
    after = results(run)
    assert after[: len(before)] == before
    known = after[len(before) :]
    assert [(row["distribution"], row["prior"]) for row in known] == [(name, "posthoc") for name in ELEVEN]
    plain = {r["distribution"]: r for r in before if r["checkpoint"] == "model_best.pth" and r["protocol"] == "shifts"}
    assert known[5]["accuracy"] == plain["uniform"]["accuracy"]
    assert any(row["accuracy"] != plain[row["distribution"]]["accuracy"] for row in known)
    with (run / "results.csv").open(newline="", encoding="utf8") as file:
        assert len(list(csv.DictReader(file))) == len(after)


@pytest.mark.parametrize("script", ["test.py", "test_all_cifar.py"])
def test_where_results_can_not_be_kept_they_are_printed_and_that_is_told(
    trained: tuple[Path, Ended], shell: Shell, tmp_path: Path, script: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    _, kept = (shell(script, "-r", run / "checkpoint-epoch2.pth") for _ in range(2))  # the second without the network
    before = results(run)
    (run / ".writing.lock").unlink()
    (run / ".writing.lock").mkdir()  # as in a folder that may be read only: no file can be written there
    ended = shell(script, "-r", run / "checkpoint-epoch2.pth")
    assert (ended.code, ended.out.rstrip()) == (1, kept.out.partition("\n\nResults written")[0])
    (line,) = ended.err.splitlines()
    assert line.startswith(
        f"error: the results are printed above, and not kept: {run}/.writing.lock: can't be written to"
    )
    assert results(run) == before


def test_distributions_are_chosen_by_name(trained: tuple[Path, Ended], shell: Shell) -> None:
    run, _ = trained
    names = ["backward100", "uniform", "forward3"]
    ended = shell("test_all_cifar.py", "-r", run / "checkpoint-epoch1.pth", "--distributions", *names)
    assert ended.code == 0
    shown = [line.split()[0] for line in ended.out.splitlines() if line.split() and line.split()[0] in names]
    assert shown == names
    wrong = shell("test_all_cifar.py", "-r", run / "checkpoint-epoch1.pth", "--distributions", "backwards5")
    assert wrong.code == 2
    assert len(wrong.err.splitlines()) == 1
    assert "backward<ratio>" in wrong.err


def test_averaged_weights_are_evaluated_beside_the_raw_ones(
    trained: tuple[Path, Ended], shell: Shell, tmp_path: Path
) -> None:
    """The first epoch's weights stand for averaged ones: each has the scores that it has alone."""
    run, _ = trained
    earlier, later = (torch.load(run / f"checkpoint-epoch{epoch}.pth", weights_only=True) for epoch in (1, 2))
    torch.save({"state_dict": later["state_dict"], "averaged_state_dict": earlier["state_dict"]}, tmp_path / "both.pth")
    torch.save({"state_dict": earlier["state_dict"]}, tmp_path / "alone.pth")
    config = json.loads((run / "config.json").read_text(encoding="utf8"))
    averages = {**config, "method": {"type": "EMA"}}
    for script in ("test.py", "test_all_cifar.py"):
        for name in ("both.pth", "alone.pth"):
            (tmp_path / "config.json").write_text(json.dumps(averages if name == "both.pth" else config))
            ended = shell(script, "-r", tmp_path / name)
            assert ended.code == 0
            weights = {line.split()[1] for line in ended.out.splitlines() if line.startswith(("ensemble", "uniform"))}
            assert weights == ({"raw", "averaged"} if name == "both.pth" else {"500"})  # else the number of images
    rows = results(tmp_path)
    both = [row for row in rows if row["checkpoint"] == "both.pth"]
    averaged = [row for row in both if row["weights"] == "averaged"]
    alone = [row for row in rows if row["checkpoint"] == "alone.pth"]
    assert len(both) == 2 * len(averaged) == 2 * len(alone) == 2 * (3 + len(ELEVEN))
    for ours, theirs in zip(averaged, alone, strict=True):
        assert ours == {**theirs, "checkpoint": "both.pth", "weights": "averaged"}


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("test_all_inat.py", ["forward3", "forward2", "uniform", "backward2", "backward3"]),
        ("test_all_imagenet.py", ELEVEN),
    ],
)
def test_the_other_sweeps_work_on_any_data_set(
    trained: tuple[Path, Ended], shell: Shell, script: str, names: list[str]
) -> None:
    run, _ = trained
    assert shell(script, "-r", run / "checkpoint-epoch1.pth").code == 0
    rows = [row for row in results(run) if row["checkpoint"] == "checkpoint-epoch1.pth"]  # of both sweeps, in the end
    assert [row["distribution"] for row in rows if row["distribution"] in names] == names


def test_groups_follow_the_runs_own_training_counts(trained: tuple[Path, Ended], shell: Shell) -> None:
    """20 images of class 0, fewer of all others: one class of medium size, nine few, none many."""
    run, _ = trained
    shell("test.py", "-r", run / "checkpoint-epoch2.pth")
    row = next(
        row for row in results(run) if row["protocol"] == "test" and row["checkpoint"] == "checkpoint-epoch2.pth"
    )
    assert row["many"] is None
    assert row["medium"] == pytest.approx(row["per_class"][0])
    assert row["few"] == pytest.approx(sum(row["per_class"][1:]) / 9)


def test_a_checkpoint_is_evaluated_with_a_configuration_from_elsewhere(
    trained: tuple[Path, Ended], shell: Shell, tmp_path: Path
) -> None:
    """A published checkpoint comes without its configuration: `-c` names one."""
    run, _ = trained
    (tmp_path / "net.pth").write_bytes((run / "checkpoint-epoch2.pth").read_bytes())
    (tmp_path / "net.json").write_text(json.dumps(small_config()))
    assert shell("test.py", "-r", tmp_path / "net.pth", "-c", tmp_path / "net.json").code == 0
    assert {"results.json", "results.csv", "net.predictions.npz"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.usefixtures("_quick")
def test_train_continues_in_the_checkpoints_folder(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text(json.dumps(small_config()))
    assert shell("train.py", "-c", tmp_path / "small.json", "--save_dir", tmp_path / "saved").code == 0
    run = the_run(tmp_path / "saved")
    whole = torch.load(run / "checkpoint-epoch2.pth", weights_only=True)
    (run / "checkpoint-epoch2.pth").unlink()
    assert shell("train.py", "-r", run / "checkpoint-epoch1.pth").code == 0
    again = torch.load(run / "checkpoint-epoch2.pth", weights_only=True)
    assert the_run(tmp_path / "saved") == run
    assert whole["state_dict"].keys() == again["state_dict"].keys()
    assert all(torch.equal(whole["state_dict"][name], again["state_dict"][name]) for name in whole["state_dict"])


def test_a_new_run_from_a_checkpoint_that_leaves_nothing_to_train_ends_in_order(
    trained: tuple[Path, Ended], shell: Shell, tmp_path: Path
) -> None:
    run, _ = trained
    ended = shell("train.py", "-r", run / "checkpoint-epoch2.pth", "--save_dir", tmp_path / "saved")
    assert ended.code == 0


@pytest.mark.usefixtures("_quick")
def test_two_runs_of_the_same_second_have_folders_of_their_own(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text(json.dumps(small_config(trainer__epochs=1)))
    for _ in range(2):
        assert shell("train.py", "-c", tmp_path / "small.json", "--save_dir", tmp_path / "saved").code == 0
    assert len(list((tmp_path / "saved/models/small").iterdir())) == 2


@pytest.mark.usefixtures("_quick")
def test_a_logging_configuration_writes_into_the_runs_folder_only(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logging_file = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"file": {"class": "logging.FileHandler", "filename": "own.log", "level": "INFO"}},
        "root": {"level": "INFO", "handlers": ["file"]},
    }
    with_mark = "utf-8-sig"  # as Windows' editors write it
    (tmp_path / "logging.json").write_text(json.dumps(logging_file), encoding=with_mark)
    (tmp_path / "small.json").write_text(json.dumps(small_config(trainer__epochs=1)))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    save_dir = tmp_path / "saved"
    ended = shell("train.py", "-c", tmp_path / "small.json", "-l", tmp_path / "logging.json", "--save_dir", save_dir)
    assert (ended.code, ended.err) == (0, "")
    assert "epoch 1/1" in (the_run(save_dir) / "own.log").read_text(encoding="utf8")
    assert files_below(tmp_path / "cwd") == {}


def test_the_cifar_100_recipe_trains_on_files_in_cifars_format(shell: Shell, tmp_path: Path) -> None:
    """The published recipe, for one epoch on a few images."""
    write_cifar(tmp_path / "data", 100, train_images=200, test_images=200)
    recipe = ROOT / "configs/mixup/standard_training/config_cifar100_ir100_bs-experts.json"
    small = ["--no-report", "--set", "data_loader.args.verify=false", "--set", "data_loader.args.imb_factor=0.5"]
    where = ["--data_dir", tmp_path / "data", "--save_dir", tmp_path / "saved", "--n_gpu", "0"]
    ended = shell("train.py", "-c", recipe, *small, *where, "--epochs", "1", "--bs", "64", "--val")
    assert (ended.code, ended.err) == (0, "")
    run = the_run(tmp_path / "saved", "Imbalance_CIFAR100LT_IR100")
    content = torch.load(run / "checkpoint-epoch1.pth", weights_only=True)
    weights = sum(
        value.numel()
        for name, value in content["state_dict"].items()
        if "running" not in name and "num_batches" not in name
    )
    assert weights == 1_362_064
    assert content["criterion"]["tau_list"].tolist() == [0, 1, 2]
    assert content["criterion"]["bsce_weight"].tolist() == [int(2 * 0.5 ** (i / 99)) for i in range(100)]
    assert shell("test_all_cifar.py", "-r", run / "checkpoint-epoch1.pth").code == 0
    assert [row["distribution"] for row in results(run)] == ELEVEN
