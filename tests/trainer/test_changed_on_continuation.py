"""`-r` with changed keys, beyond what is true of each key (`test_every_key_on_continuation.py`)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.continued_runs import BEGUN, EPOCHS, BegunRuns, next_update, tiny_networks
from tests.trainer.small_runs import run, small_trainer, with_changes
from trainer.continuation import run_differences
from trainer.engine.loss_guard import LossGuard
from trainer.methods.averaged import SWA
from trainer.run_folders import read_resumed
from utils.config.parser import ConfigParser
from utils.distributed.context import DistributedContext
from utils.errors import RunError

pytestmark = pytest.mark.usefixtures("_quick_throughout")

MONITORED = with_changes(BEGUN, {"trainer.validate": True, "trainer.monitor": "min val_loss"})


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny_networks(patch)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> BegunRuns:
    return BegunRuns(tmp_path_factory.mktemp("begun"))


def test_a_momentum_that_there_was_none_of_begins_empty(tmp_path: Path, runs: BegunRuns) -> None:
    """SGD's first update with momentum is one without."""
    plain = with_changes(BEGUN, {"optimizer.args.momentum": 0.0})
    trainer = small_trainer(tmp_path, BEGUN, resume=runs.checkpoint(plain))
    assert all(map(torch.equal, next_update(trainer).after, runs.as_it_is(plain).after))


def test_an_average_may_be_given_up(tmp_path: Path, runs: BegunRuns) -> None:
    averaged = with_changes(BEGUN, {"method": {"type": "EMA"}})
    trainer = small_trainer(tmp_path, BEGUN, resume=runs.checkpoint(averaged))
    assert all(map(torch.equal, next_update(trainer).after, runs.as_it_is(averaged).after))


def swa(start: float) -> dict[str, Any]:
    return with_changes(BEGUN, {"method": {"type": "SWA", "args": {"start": start}}})


@pytest.mark.parametrize("start", [0.9, 0.75])
def test_a_mean_that_is_to_begin_behind_the_epochs_done_begins_anew(
    tmp_path: Path, runs: BegunRuns, start: float
) -> None:
    """Epochs 1 to 3 of 4 were in it; from now on it is that of the fourth alone: the network itself."""
    trainer = small_trainer(tmp_path, swa(start), resume=runs.checkpoint(swa(0.0)))
    next_update(trainer)
    assert isinstance(trainer.method, SWA)
    assert trainer.method.count.value == 1
    raw, averaged = (dict(network.named_parameters()) for network in trainer.method.networks().values())
    assert all(torch.equal(raw[name], averaged[name]) for name in raw)


def test_a_method_within_a_method_may_be_left_out_or_named() -> None:
    named = {"type": "EMA", "args": {"method": {"type": "Supervised"}}}
    assert (
        run_differences(with_changes(BEGUN, {"method": {"type": "EMA"}}), with_changes(BEGUN, {"method": named})) == []
    )


def test_keys_that_are_left_out_count_as_their_defaults() -> None:
    config = BEGUN
    full = with_changes(config, {"trainer.keep_last": 0, "method": {"type": "Supervised"}, "loss.args.eps": 1e-9})
    assert run_differences(config, full) == []
    part = {"type": "LinearLR", "args": {"total_iters": 5}}
    parts = {"lr_scheduler": {"type": "ChainedScheduler", "args": {"schedulers": [part]}}}
    same = {"type": "LinearLR", "args": {"total_iters": 5, "end_factor": 1.0}}
    spelled = {"lr_scheduler.args.schedulers": [same], "lr_scheduler.step_unit": None}
    assert run_differences({**config, **parts}, with_changes({**config, **parts}, spelled)) == []
    other = with_changes(full, {"n_gpu": 3, "optimizer.args.lr": 1, "trainer.keep_last": 2})
    assert [str(each) for each in run_differences(config, other)] == [
        "optimizer.args.lr: 0.05 → 1",
        "trainer.keep_last: 0 → 2",
    ]


def test_a_configuration_edited_beside_the_checkpoint_is_a_new_run_told_key_by_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = BEGUN
    run(tmp_path, config)
    checkpoint = tmp_path / f"checkpoint-epoch{EPOCHS}.pth"
    edited = with_changes(config, {"seed": 3, "optimizer.args.lr": 0.5})
    (tmp_path / "config.json").write_text(json.dumps(edited))
    parser = ConfigParser.from_file(tmp_path / "config.json", resume=checkpoint)
    with caplog.at_level("INFO"):
        folder, content = read_resumed(parser, DistributedContext())
    assert folder is None
    assert content is not None
    told = [record.getMessage().strip() for record in caplog.records]
    assert set(told[1:]) == {"optimizer.args.lr: 0.05 → 0.5", "seed: 1 → 3"}


def test_averaged_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, with_changes(BEGUN, {"method": {"type": "EMA"}}))
    trainer.train_steps(1)
    next(trainer.method.networks()["averaged"].parameters()).data.fill_(math.nan)
    assert isinstance(trainer.guard, LossGuard)
    with pytest.raises(RunError, match="weights become infinite or nan"):
        trainer.save("model_best.pth")
    trainer.recorder.close()
    assert not (tmp_path / "model_best.pth").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_never_best(tmp_path: Path, value: float) -> None:
    trainer = small_trainer(tmp_path, MONITORED)
    trainer.recorder.close()
    assert not trainer.monitor.is_better(value, None)
