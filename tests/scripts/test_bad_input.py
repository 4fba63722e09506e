"""Mistakes of the user: one line on standard error, exit code 2, no traceback, and nothing left behind."""

from __future__ import annotations

import io
import json
import pickle
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.scripts.command_line import ROOT, Ended, Shell, files_below, in_own_process
from tests.trainer.small_runs import run, small_config
from utils.config import schema_cache

CIFAR = ROOT / "configs/mixup/standard_training/config_cifar100_ir100_bs-experts.json"
FASHION = ROOT / "configs/fashion_mnist/config_fashion_mnist_ir100_bs-experts.json"
EVALUATIONS = ["test.py", "test_all_cifar.py"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of one epoch with its configuration beside it."""
    folder = tmp_path_factory.mktemp("finished")
    run(folder, small_config(trainer__epochs=1))
    return folder / "checkpoint-epoch1.pth"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path) -> Path:
    """An empty working folder but for a sound configuration and a sound checkpoint."""
    (tmp_path / "small.json").write_text(json.dumps(small_config(trainer__epochs=1, trainer__save_dir="saved")))
    (tmp_path / "run").mkdir()
    for name in ("checkpoint-epoch1.pth", "config.json"):
        (tmp_path / "run" / name).write_bytes((finished.parent / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_one_line(ended: Ended, *words: str) -> str:
    assert ended.code == 2, ended
    assert len(ended.err.splitlines()) == 1, ended.err
    assert ended.err.startswith("error: ")
    assert "Traceback" not in ended.out + ended.err
    for word in words:
        assert word in ended.err, ended.err
    return ended.err


Refuse = Callable[..., str]


@pytest.fixture
def refuse(shell: Shell, place: Path) -> Refuse:
    """`refuse(words, script, *arguments)`: the script ends with one line that holds the words, and leaves no trace."""

    def check(words: tuple[str, ...], script: str, *arguments: object) -> str:
        before = files_below(place)
        line = is_one_line(shell(script, *arguments), *words)
        assert files_below(place) == before
        return line

    return check


# -- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("-c", "-r")),
        (("-c", "nowhere.json"), ("nowhere.json", "no such")),
        (("-c", "."), (".", "can't be read")),
        (("-c", "small.json", "-r", "nowhere.pth"), ("nowhere.pth", "no such checkpoint")),
        (("-c", "small.json", "--learning-rate", "3"), ("--learning-rate",)),
        (("-c", "small.json", "--sed", "1"), ("unrecognized arguments: --sed 1; did you mean '--seed'?",)),
        (("-c", "small.json", "--learning-rat=1"), ("did you mean '--learning_rate'?",)),
        (("-c", "small.json", "--lr"), ("--lr", "argument")),
        (("-c", "small.json", "--lr", "fast"), ("optimizer.args.lr", "'fast'", "set by --lr")),
        (("-c", "small.json", "--learning_rate", "fast"), ("optimizer.args.lr", "set by --learning_rate)")),
        (("-c", "small.json", "--bs", "0"), ("data_loader.args.batch_size", "at least 1", "set by --bs)")),
        (("-c", "small.json", "--batch_size", "0"), ("data_loader.args.batch_size", "set by --batch_size)")),
        (("small.json",), ("unrecognized arguments: small.json; did you mean '-c small.json'?",)),
        (("-c", "small.json", "--seed", "-1"), ("seed", "at least 0", "set by")),
        (("-c", "small.json", "--epochs", "0"), ("trainer.epochs", "at least 1", "--epochs")),
        (("-c", "small.json", "--combiner_type", "mix"), ("combiner.mode", "mixup_cutmix")),
        (("-c", "small.json", "--tau_list", "0;1;2"), ("loss.args.tau_list", "3 entries", "num_experts is 2")),
        (("-c", "small.json", "--set", "arch"), ("--set arch", "a.b.c=VALUE")),
        (("-c", "small.json", "--set", "name.x=1"), ("name", "--set")),
        (("-c", "small.json", "--set", "optimizer.args.momentun=0.9"), ("momentun", "did you mean 'momentum'")),
        (("-c", "small.json", "--set", "arch.args.num_classes=7"), ("arch.args.num_classes", "7", "10 classes")),
        (("-c", "small.json", "--bs", "1" + "0" * 15), ("data_loader.args.batch_size", "at most 1e+07")),
        (("-c", "small.json", "--n_gpu", "1" + "0" * 18), ("n_gpu", "at most 1024")),
        (("-c", "small.json", "--accumulate_steps", "1" + "0" * 9), ("trainer.accumulate_steps", "at most 100000")),
        (("-c", "small.json", "--lr", "9" * 5000), ("--lr", "thousands of digits")),
        (("-c", "small.json", "--seed", "9" * 5000), ("--seed", "thousands of digits")),
        (("-c", "small.json", "--set", f"loss.args.eps={'9' * 5000}"), ("--set loss.args.eps", "thousands of digits")),
        (("-c", "small.json", "--set", f"loss={'[' * 900}{']' * 900}"), ("--set loss", "nested more than 100 deep")),
        (("-c", "small.json", "--set", 'loss={"type": "A", "type": "B"}'), ("--set loss", "'type' appears twice")),
        (("-c", "small.json", "-r", ""), ("-r ''",)),
        (("-c", "small.json", "-r", "r" * 5000), ("rrr", "can't be read: File name too long")),
        (("-c", "c" * 5000), ("ccc", "can't be read: File name too long")),
        (("-c", "small.json", "--save_dir", "s" * 5000), ("trainer.save_dir", "File name too long")),
        (("-c", "small.json", "-d", "²"), ("-d ²",)),
        (("-c", "small.json", "-d", "gpu"), ("-d gpu", "0,1")),
        (("-c", "small.json", "-d", "0,"), ("-d 0,",)),
        (("-c", "small.json", "-l", "nowhere.json"), ("nowhere.json", "logging")),
        (("-c", "small.json", "-l", "small.json"), ("small.json", "logging")),
    ],
    ids=lambda value: " ".join(value)[:80] if isinstance(value, tuple) else None,
)
def test_train_refuses_a_bad_command_line(refuse: Refuse, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refuse(words, "train.py", *arguments)


@pytest.mark.parametrize("script", EVALUATIONS)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("-r",)),
        (("-c", "small.json"), ("no checkpoint", "-r")),
        (("-r", "run/checkpoint-epoch9.pth"), ("checkpoint-epoch9.pth", "no such checkpoint")),
        (("-r", "run"), ("run: is a folder", "newest checkpoint is run/checkpoint-epoch1.pth")),
        (("-r", "run/config.json"), ("config.json", "checkpoint")),
        (("-r", "run/checkpoint-epoch1.pth", "-c", "nowhere.json"), ("nowhere.json",)),
        (("-r", "run/checkpoint-epoch1.pth", "-d", "x"), ("-d x",)),
        (("-r", "run/checkpoint-epoch1.pth", "--lr", "1"), ("--lr",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_the_evaluations_refuse_a_bad_command_line(
    refuse: Refuse, script: str, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refuse(words, script, *arguments)


def test_the_scripts_refuse_in_processes_of_their_own_as_well(place: Path) -> None:
    before = files_below(place)
    is_one_line(in_own_process("train.py", "-c", place / "nowhere.json"), "nowhere.json")
    is_one_line(in_own_process("test.py", "-r", place / "nowhere.pth"), "nowhere.pth")
    assert files_below(place) == before


# -- the configuration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{\n  "name": "x",\n  "n_gpu": ,\n}', ("line 3", "column 12")),
        ("", ("line 1", "column 1")),
        ("[1, 2]", ("JSON object",)),
        ('{"name": "x"', ("line 1", "column 13")),
    ],
)
def test_broken_json_is_told_with_line_and_column(refuse: Refuse, place: Path, text: str, words: tuple[str]) -> None:
    (place / "broken.json").write_text(text)
    refuse(("broken.json", *words), "train.py", "-c", "broken.json")


def test_a_file_that_is_no_text_is_refused(refuse: Refuse, place: Path) -> None:
    (place / "broken.json").write_bytes(b"\xff\xfe\x00\x01")
    refuse(("broken.json",), "train.py", "-c", "broken.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trainer__epoch": 3}, ("trainer.epoch:", "did you mean 'epochs'")),
        ({"data_loader__args__batchsize": 3}, ("data_loader.args.batchsize:", "did you mean 'batch_size'")),
        ({"data_loader__args__batch_size": "32"}, ("data_loader.args.batch_size:", "an integer", "'32'")),
        ({"arch__type": "ResNet23Model"}, ("arch.type:", "did you mean 'ResNet3")),
        ({"loss__args__tau_list": [0, 1, 2]}, ("loss.args.tau_list:", "3 entries")),
        ({"arch__args__num_classes": 100}, ("arch.args.num_classes:", "100", "10 classes")),
        ({"combiner__mixup__alpha": -1}, ("combiner.mixup.alpha:", "more than 0")),
    ],
)
def test_a_wrong_configuration_is_refused_at_its_path(
    refuse: Refuse, place: Path, changes: dict[str, Any], words: tuple[str]
) -> None:
    (place / "wrong.json").write_text(json.dumps(small_config(**changes)))
    refuse((*words, "wrong.json"), "train.py", "-c", "wrong.json")


def test_several_mistakes_are_several_lines(shell: Shell, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them; those that PyTorch isn't needed for first, once it is known without it what there may be."""
    monkeypatch.setattr(schema_cache, "cached_file", lambda name: place / "cache" / name)
    monkeypatch.setattr(schema_cache, "_CLOCKS_DIFFER", -(10**18))  # however new this checkout is
    (place / "wrong.json").write_text(json.dumps(small_config(trainer__epochs=0, name=3, loss__args__tau_list=[1])))
    for expected in ({"trainer.epochs", "name", "loss.args.tau_list"}, {"trainer.epochs", "name"}):
        ended = shell("train.py", "-c", "wrong.json")
        assert ended.code == 2
        assert {line.split(": ")[1] for line in ended.err.splitlines()} == expected


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save_dir", ["small.json", "small.json/below"])
def test_a_save_dir_that_can_not_be_made_is_refused(refuse: Refuse, save_dir: str) -> None:
    refuse(("small.json", "trainer.save_dir"), "train.py", "-c", "small.json", "--save_dir", save_dir)


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def cut_at_the_end(content: bytes) -> bytes:
    return content[:-1]


def emptied(content: bytes) -> bytes:
    return b""


def one_bit_flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("damage", "word"),
    [(truncated, "damaged"), (cut_at_the_end, "damaged"), (emptied, "empty"), (one_bit_flipped, "damaged")],
)
@pytest.mark.parametrize("script", ["train.py", *EVALUATIONS])
def test_a_damaged_checkpoint_is_refused(
    refuse: Refuse, place: Path, script: str, damage: Callable[[bytes], bytes], word: str
) -> None:
    path = place / "run/checkpoint-epoch1.pth"
    path.write_bytes(damage(path.read_bytes()))
    refuse(("checkpoint-epoch1.pth", word), script, "-r", path)


def test_a_checkpoint_of_another_network_is_refused(refuse: Refuse, place: Path) -> None:
    (place / "run/config.json").write_text(json.dumps(small_config(arch__args__layer3_output_dim=24)))
    refuse(("checkpoint-epoch1.pth", "layer3"), "test.py", "-r", "run/checkpoint-epoch1.pth")


def test_a_checkpoint_without_a_configuration_is_refused(refuse: Refuse, place: Path) -> None:
    (place / "run/config.json").unlink()
    refuse(("config.json",), "test.py", "-r", "run/checkpoint-epoch1.pth")


def no_network(*arguments: object, **options: object) -> None:
    raise urllib.error.URLError("no route to host")


@pytest.mark.parametrize("recipe", [CIFAR, FASHION], ids=["CIFAR-100", "Fashion-MNIST"])
def test_data_that_are_neither_there_nor_to_be_had_are_refused(
    shell: Shell, place: Path, monkeypatch: pytest.MonkeyPatch, recipe: Path
) -> None:
    """The folder for the download may be left behind; a run may not."""
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    ended = shell("train.py", "-c", recipe, "--data_dir", "data", "--save_dir", "saved", "--n_gpu", "0")
    is_one_line(ended, "data", "--data_dir", "none was downloaded")
    assert not (place / "saved").exists()


def test_unverified_data_that_are_not_there_are_refused(refuse: Refuse) -> None:
    flags = ("--data_dir", "data", "--set", "data_loader.args.verify=false")
    refuse(("data", "no such file"), "train.py", "-c", CIFAR, *flags)


def test_wandb_that_is_not_installed_is_refused(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    refuse(("--use-wandb", "not installed"), "train.py", "-c", "small.json", "--use-wandb")


# -- weight files from strangers --------------------------------------------------------------------------------------


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def as_plain_pickle(content: Any) -> bytes:
    return pickle.dumps(content)


def as_torch_archive(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def as_old_torch_file(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def as_hand_made_archive(content: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


@pytest.mark.parametrize("script", ["train.py", "test.py", "test_all_cifar.py"])
@pytest.mark.parametrize("form", [as_plain_pickle, as_torch_archive, as_old_torch_file, as_hand_made_archive])
def test_a_malicious_weight_file_is_refused_and_nothing_of_it_runs(
    refuse: Refuse, place: Path, script: str, form: Callable[[Any], bytes]
) -> None:
    trap = place / "executed"
    (place / "run/stranger.pth").write_bytes(form({"state_dict": {}, "config": Trap(trap)}))
    refuse(("stranger.pth", "never executed"), script, "-r", "run/stranger.pth")
    assert not trap.exists()
    pickle.loads(pickle.dumps(Trap(trap)))  # the trap itself works
    assert trap.exists()


def test_a_network_too_large_for_the_memory_is_one_line(place: Path, shell: Shell) -> None:
    ended = shell("train.py", "-c", "small.json", "--layer3_dimension", 2 * 10**6)  # 144 TB for one convolution
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert line.startswith("error: out of memory (")
    assert "python -m tools.estimate" in line
    assert not list(place.glob("saved/models/*/*")), "nothing is left of it"
