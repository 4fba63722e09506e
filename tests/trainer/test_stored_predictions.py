"""The network runs once over a test split: its logits are stored, used again, and told apart from another's."""

from __future__ import annotations

import copy
import hashlib
import logging
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from data_loader.datasets.contents import Contents
from tests.odd_files import ODD_KINDS, put_odd
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.stored_predictions import stored_predictions as stored_predictions_of
from utils.errors import UserError

N, E, C = 6, 2, 3
LOGITS = np.random.default_rng(0).normal(size=(N, E, C)).astype(np.float32)
TARGETS = np.array([0, 1, 2, 0, 1, 2])
IMAGES = Contents("names, sizes, sample", "Monday", lambda: "everything")
CONFIG = {"arch": {"type": "A", "args": {"s": 30}}, "data_loader": {"type": "D", "args": {"imb_factor": 0.1}}}


def stored_predictions(
    checkpoint: Path, config: Any, targets: np.ndarray, compute: Any, contents: Contents = IMAGES
) -> Predictions:
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    predictions = stored_predictions_of(
        checkpoint, digest, config, targets, compute, precision="fp32", contents=contents
    )
    assert predictions is not None
    return predictions


class Network:
    """Stands for running the network; counts how often it ran."""

    def __init__(self, logits: np.ndarray = LOGITS) -> None:
        self.logits, self.runs = logits, 0

    def __call__(self) -> Predictions:
        self.runs += 1
        return computed(raw=self.logits)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint-epoch3.pth"
    path.write_bytes(b"weights")
    return path


def computed(**logits: np.ndarray) -> Predictions:
    return Predictions(logits, TARGETS)


def fail() -> NoReturn:
    raise AssertionError("the network ran a second time, or all images were read")


def test_predictions_are_stored_and_used_again_without_the_network(checkpoint: Path) -> None:
    first = stored_predictions(checkpoint, CONFIG, TARGETS, Network())
    again = stored_predictions(checkpoint, copy.deepcopy(CONFIG), TARGETS, fail)
    for predictions in (first, again):
        np.testing.assert_array_equal(predictions.logits["raw"], LOGITS)
        np.testing.assert_array_equal(predictions.targets, TARGETS)
    assert again.logits["raw"].dtype == np.float32
    assert {path.name for path in checkpoint.parent.iterdir()} == {
        "checkpoint-epoch3.pth",
        "checkpoint-epoch3.predictions.npz",
        ".writing.lock",
    }


def test_each_networks_logits_are_an_array_named_after_its_weights(checkpoint: Path) -> None:
    both = {"raw": LOGITS, "averaged": LOGITS + 1}
    stored_predictions(checkpoint, CONFIG, TARGETS, lambda: computed(**both))
    with np.load(checkpoint.with_name("checkpoint-epoch3.predictions.npz")) as content:
        assert {"logits_raw", "logits_averaged", "targets"} <= set(content.files)
        np.testing.assert_array_equal(content["logits_averaged"], LOGITS + 1)
    again = stored_predictions(checkpoint, CONFIG, TARGETS, fail)
    assert list(again.logits) == ["raw", "averaged"]
    np.testing.assert_array_equal(again.logits["averaged"], LOGITS + 1)


def test_what_is_irrelevant_to_the_test_split_does_not_make_the_network_run_again(checkpoint: Path) -> None:
    stored_predictions(checkpoint, {**CONFIG, "name": "a"}, TARGETS, Network())
    stored_predictions(checkpoint, {**CONFIG, "name": "b", "optimizer": {}}, TARGETS, fail)


def change_the_weights(checkpoint: Path, config: dict[str, Any], targets: np.ndarray) -> None:
    checkpoint.write_bytes(b"weightz")


def change_the_network(checkpoint: Path, config: dict[str, Any], targets: np.ndarray) -> None:
    config["arch"]["args"]["s"] = 16


def change_the_data(checkpoint: Path, config: dict[str, Any], targets: np.ndarray) -> None:
    config["data_loader"]["args"]["imb_factor"] = 0.01


def change_the_labels(checkpoint: Path, config: dict[str, Any], targets: np.ndarray) -> None:
    targets[0] = 1


def damage_the_middle(checkpoint: Path, config: dict[str, Any], targets: np.ndarray) -> None:
    path = checkpoint.with_name("checkpoint-epoch3.predictions.npz")
    content = bytearray(path.read_bytes())
    content[40:90] = bytes(50)  # within the compressed logits
    path.write_bytes(content)


def cut_the_file(checkpoint: Path, config: dict[str, Any], targets: np.ndarray) -> None:
    path = checkpoint.with_name("checkpoint-epoch3.predictions.npz")
    path.write_bytes(path.read_bytes()[:100])


def empty_the_file(checkpoint: Path, config: dict[str, Any], targets: np.ndarray) -> None:
    checkpoint.with_name("checkpoint-epoch3.predictions.npz").write_bytes(b"")


def put_a_bare_array_there(checkpoint: Path, config: dict[str, Any], targets: np.ndarray) -> None:
    with checkpoint.with_name("checkpoint-epoch3.predictions.npz").open("wb") as file:
        np.save(file, LOGITS)


@pytest.mark.parametrize(
    "change",
    [
        change_the_weights,
        change_the_network,
        change_the_data,
        change_the_labels,
        damage_the_middle,
        cut_the_file,
        empty_the_file,
        put_a_bare_array_there,
    ],
)
def test_predictions_that_do_not_belong_or_are_damaged_are_made_anew(checkpoint: Path, change: Any) -> None:
    config, targets = copy.deepcopy(CONFIG), TARGETS.copy()
    stored_predictions(checkpoint, config, targets, Network())
    change(checkpoint, config, targets)
    network = Network(LOGITS + 1)
    predictions = stored_predictions(checkpoint, config, targets, network)
    assert network.runs == 1
    np.testing.assert_array_equal(predictions.logits["raw"], LOGITS + 1)
    stored_predictions(checkpoint, config, targets, fail)  # and those are stored now


@pytest.mark.parametrize(
    ("now", "runs"),
    [
        (Contents("names, sizes, sample", "Monday", fail), 0),
        (Contents("names, sizes, sample", "Tuesday", lambda: "everything"), 0),
        (Contents("names, sizes, sample", "Tuesday", lambda: "something else"), 1),
        (Contents("names, sizes, other sample", "Monday", lambda: "everything"), 1),
    ],
)
def test_predictions_are_those_of_the_same_images_whenever_these_were_modified(
    checkpoint: Path, now: Contents, runs: int
) -> None:
    stored_predictions(checkpoint, CONFIG, TARGETS, Network())
    network = Network()
    stored_predictions(checkpoint, CONFIG, TARGETS, network, now)
    assert network.runs == runs
    at_once = Contents(now.quick, now.times, fail)
    stored_predictions(checkpoint, CONFIG, TARGETS, fail, at_once)  # the times of now are known


def test_of_too_many_bytes_the_times_decide(checkpoint: Path) -> None:
    stored_predictions(checkpoint, CONFIG, TARGETS, Network(), Contents("quick", "Monday", str))
    network = Network()
    stored_predictions(checkpoint, CONFIG, TARGETS, network, Contents("quick", "Tuesday", str))
    assert network.runs == 1


def test_what_changes_while_the_network_runs_is_noticed_afterwards(checkpoint: Path) -> None:
    images = {"everything": "as it was"}

    def changes_meanwhile() -> Predictions:
        images["everything"] = "changed"
        return Network()()

    before = Contents("quick", "Monday", lambda: images["everything"])
    stored_predictions(checkpoint, CONFIG, TARGETS, changes_meanwhile, before)
    network = Network()
    stored_predictions(checkpoint, CONFIG, TARGETS, network, Contents("quick", "Tuesday", lambda: images["everything"]))
    assert network.runs == 1


def test_any_damaged_byte_is_noticed_or_harmless(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whichever byte is flipped: the right numbers, from the file or from the network, and no exception."""
    caplog.set_level(logging.CRITICAL)
    stored_predictions(checkpoint, CONFIG, TARGETS, Network())
    path = checkpoint.with_name("checkpoint-epoch3.predictions.npz")
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        np.testing.assert_array_equal(stored_predictions(checkpoint, CONFIG, TARGETS, Network()).logits["raw"], LOGITS)


def test_a_pickle_in_the_place_of_predictions_is_not_executed(checkpoint: Path) -> None:
    trap = checkpoint.with_name("executed")
    with checkpoint.with_name("checkpoint-epoch3.predictions.npz").open("wb") as file:
        np.savez(file, fingerprint=np.array([Trap(trap)], dtype=object), logits_raw=LOGITS, targets=TARGETS)
    stored_predictions(checkpoint, CONFIG, TARGETS, Network())
    assert not trap.exists()


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_diverged_network_is_one_line_and_stores_nothing(checkpoint: Path) -> None:
    logits = LOGITS.copy()
    logits[2, 1, 0] = np.nan
    with pytest.raises(UserError, match=r"checkpoint-epoch3\.pth: its network gives .*finite"):
        stored_predictions(checkpoint, CONFIG, TARGETS, Network(logits))
    with pytest.raises(UserError, match=r"checkpoint-epoch3\.pth: its network of averaged weights .*finite"):
        stored_predictions(checkpoint, CONFIG, TARGETS, lambda: computed(raw=LOGITS, averaged=logits))
    assert [path.name for path in checkpoint.parent.iterdir()] == ["checkpoint-epoch3.pth"]


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_what_stands_in_their_place_is_neither_waited_for_nor_replaced(checkpoint: Path, kind: str) -> None:
    put_odd(checkpoint.with_name("checkpoint-epoch3.predictions.npz"), kind)
    predictions = stored_predictions(checkpoint, CONFIG, TARGETS, lambda: computed(raw=LOGITS))
    np.testing.assert_array_equal(predictions.logits["raw"], LOGITS)


def test_where_predictions_can_not_be_kept_they_are_used_all_the_same(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (checkpoint.parent / ".writing.lock").mkdir()
    predictions = stored_predictions(checkpoint, CONFIG, TARGETS, lambda: computed(raw=LOGITS))
    np.testing.assert_array_equal(predictions.logits["raw"], LOGITS)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        f"warning: predictions not kept: {checkpoint.parent}/.writing.lock: can't be written to"
    )
