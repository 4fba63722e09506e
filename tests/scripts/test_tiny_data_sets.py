"""Data sets of next to nothing: they are trained on, tested and swept, or refused in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.data_loader.image_trees import digit_picture, save_picture
from tests.scripts.command_line import ROOT, Ended, Shell

pytestmark = pytest.mark.usefixtures("_quick_throughout")

RECIPE = ROOT / "configs/own_images/config_image_folder_bs-experts.json"
TINY = {
    **{"arch.type": "ResNet10Model", "arch.args.num_experts": 2, "loss.args.tau_list": [0, 2]},
    **{"data_loader.args.image_size": 32, "data_loader.args.num_workers": 0, "data_loader.args.batch_size": 4},
    **{"trainer.epochs": 1, "trainer.validate": "false", "trainer.monitor": "off"},
}
SWEEPS = ("test_all_cifar.py", "test_all_imagenet.py", "test_all_inat.py")

Splits = Mapping[str, Mapping[str, int]]


def write(folder: Path, splits: Splits) -> None:
    """Split → class → number of images; no picture is in two splits."""
    for place, (split, counts) in enumerate(splits.items()):
        for label, (name, count) in enumerate(counts.items()):
            for number in range(20 * place, 20 * place + count):
                save_picture(folder / split / name / f"{number}.jpg", digit_picture(label, number))


def trained(tmp_path: Path, shell: Shell, splits: Splits) -> Path:
    """The checkpoint of one epoch."""
    write(tmp_path / "data", splits)
    keys = {**TINY, "arch.args.num_classes": len(splits["train"]), "data_loader.args.data_dir": tmp_path / "data"}
    flags = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    ended = shell("train.py", "-c", RECIPE, *flags, "--no-report", "--save_dir", tmp_path / "saved")
    assert (ended.code, ended.err) == (0, "")
    (checkpoint,) = (tmp_path / "saved").glob("models/*/*/checkpoint-epoch1.pth")
    return checkpoint


def assert_works(ended: Ended) -> None:
    assert (ended.code, ended.err) == (0, "")
    assert "nan" not in ended.out


@pytest.mark.parametrize(
    "splits",
    [{"train": {"a": 4}, "test": {"a": 3}}, {"train": {"a": 1, "b": 1}, "test": {"a": 1, "b": 1}}],
    ids=["a single class", "one image in every class"],
)
def test_little_is_enough_for_training_testing_and_sweeping(tmp_path: Path, shell: Shell, splits: Splits) -> None:
    checkpoint = trained(tmp_path, shell, splits)
    assert_works(shell("test.py", "-r", checkpoint))
    for sweep in SWEEPS:
        assert_works(shell(sweep, "-r", checkpoint))
        assert_works(shell(sweep, "-r", checkpoint, "--posthoc_bias_correction"))


def test_where_the_test_images_are_of_one_class_a_sweep_has_them_alone(tmp_path: Path, shell: Shell) -> None:
    checkpoint = trained(tmp_path, shell, {"train": {"a": 4, "b": 3}, "test": {"a": 3}})
    assert_works(shell("test.py", "-r", checkpoint))
    for sweep in SWEEPS:
        ended = shell(sweep, "-r", checkpoint)
        assert_works(ended)
        assert [line.split()[:3] for line in ended.out.splitlines() if line.startswith("as split")] == [
            ["as", "split", "3"]
        ]
        assert not [line for line in ended.out.splitlines() if line.startswith(("forward", "uniform", "backward"))]
