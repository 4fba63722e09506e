"""The same bits again: from the same seed, from any number of workers, and from a checkpoint in the middle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainer.small_runs import run, same_weights, small_config

pytestmark = pytest.mark.usefixtures("_quick")

DROPOUT = {"arch__args__dropout": 0.5}


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path: Path) -> None:
    """Dropout, mixing, order and augmentation all take part."""
    first = run(tmp_path / "a", small_config(seed=7, **DROPOUT))
    torch.manual_seed(12345)  # what came before does not matter
    again = run(tmp_path / "b", small_config(seed=7, **DROPOUT))
    other = run(tmp_path / "c", small_config(seed=8, **DROPOUT))
    assert same_weights(first, again)
    assert first["progress"]["history"] == again["progress"]["history"]
    assert not same_weights(first, other)


def test_dropout_takes_part(tmp_path: Path) -> None:
    """Else the test above says nothing about it."""
    once = {"trainer__epochs": 1}
    assert not same_weights(
        run(tmp_path / "a", small_config(**DROPOUT, **once)), run(tmp_path / "b", small_config(**once))
    )


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12, about TensorBoard's writing thread
def test_the_number_of_workers_changes_no_bit(tmp_path: Path) -> None:
    strong = {"data_loader__args__randaugm": True, "data_loader__args__cutout": True}
    alone = run(tmp_path / "a", small_config(**strong))
    helped = run(tmp_path / "b", small_config(**strong, data_loader__args__num_workers=2))
    plain = run(tmp_path / "c", small_config())
    assert same_weights(alone, helped)
    assert not same_weights(alone, plain)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"combiner__mode": "mixup_cutmix", **DROPOUT},
        {"lr_scheduler": {"type": "CosineAnnealingLR", "args": {"T_max": 3}}},
        {
            "lr_scheduler": {"type": "ReduceLROnPlateau", "args": {"patience": 0, "mode": "max"}},
            "trainer__validate": True,
            "trainer__monitor": "max val_accuracy",
        },
        {"optimizer": {"type": "AdamW", "args": {"lr": 1e-3}}, "data_loader__args__balanced": True},
    ],
    ids=["plain", "mixing and dropout", "cosine", "plateau", "AdamW, balanced"],
)
def test_a_continued_run_is_the_uninterrupted_one(tmp_path: Path, changes: dict[str, object]) -> None:
    config = small_config(trainer__epochs=3, **changes)
    whole = run(tmp_path / "whole", config)
    continued = run(tmp_path / "rest", config, resume=tmp_path / "whole" / "checkpoint-epoch1.pth")
    assert same_weights(whole, continued)
    assert whole["progress"] == continued["progress"]
    assert whole["lr_scheduler"] == continued["lr_scheduler"]
    ours, theirs = whole["optimizer"]["state"], continued["optimizer"]["state"]
    assert ours.keys() == theirs.keys()
    for key, state in ours.items():
        for name, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(theirs[key][name])), (key, name)


def test_a_checkpoints_weights_alone_begin_a_new_run(tmp_path: Path) -> None:
    first = run(tmp_path / "first", small_config(trainer__epochs=1))
    config = small_config(trainer__epochs=1, resume_state_dict_only=True, optimizer__args__lr=0.0)
    second = run(tmp_path / "second", config, resume=tmp_path / "first" / "checkpoint-epoch1.pth")
    names = [name for name in first["state_dict"] if name.endswith("weight") and "bn" not in name]
    assert names
    assert all(torch.equal(first["state_dict"][name], second["state_dict"][name]) for name in names)
    assert [line["epoch"] for line in second["progress"]["history"]] == [1]
