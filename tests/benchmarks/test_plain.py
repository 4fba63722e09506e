"""The plain way that speed is compared with computes the same as this project's: logits, loss, accuracies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.alternating import PLAIN, Comparison, by_turns, report
from benchmarks.cifar_run import BATCH, TAUS, CifarRun, cifar_run
from benchmarks.plain import plain_loss, plain_step, plain_sweep
from benchmarks.sweep import distributions_of, our_halves
from model.experts import expert_logits_of
from model.losses import BSExpertLoss
from model.targets import MixedTargets


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> CifarRun:
    return cifar_run(tmp_path_factory.mktemp("cifar"), largest_class=4, test_images=100)


def test_both_have_the_same_images_and_logits(run: CifarRun) -> None:
    loader = run.trainer.loaders["train"]
    assert len(run.train) == loader.num_images
    assert np.bincount(run.train.labels, minlength=100).tolist() == list(loader.cls_num_list)
    images = torch.randn(2, 3, 32, 32)
    ours = run.trainer.method.network
    for mode in (False, True):
        run.plain.train(mode)
        ours.train(mode)
        with torch.no_grad():
            assert torch.allclose(run.plain(images), expert_logits_of(ours(images)), atol=1e-4)
    run.plain.load_state_dict(ours.state_dict())  # the statistics of BatchNorm have moved in both
    (batch, _), *_ = run.test.batches(size=8)
    read = next(iter(loader.of_split("test").epoch(0))).view("test")[:8]
    assert torch.allclose(batch, read, atol=1e-5)


def test_both_have_the_same_loss(run: CifarRun) -> None:
    logits = torch.randn(8, 3, 100)
    first, second = torch.randint(100, (2, 8))
    counts = run.trainer.loaders["train"].cls_num_list
    targets = MixedTargets(first, second, 0.3)
    ours = BSExpertLoss(counts, list(TAUS))(logits.mean(dim=1), targets, {"logits": logits.transpose(0, 1)})
    each = [plain_loss(logits, labels, taus=TAUS, log_prior=run.log_prior) for labels in (first, second)]
    assert float(ours) == pytest.approx(float(0.3 * each[0] + 0.7 * each[1]), rel=1e-5)


def test_a_plain_step_lowers_the_loss_of_what_it_saw(run: CifarRun) -> None:
    images, targets = next(iter(run.train.batches(size=16)))
    optimizer = run.plain_optimizer()
    losses = [
        plain_step(run.plain, optimizer, images, targets, taus=TAUS, log_prior=run.log_prior, alpha=1e-3)
        for _ in range(3)
    ]
    assert losses[-1] < losses[0]
    run.plain.load_state_dict(run.trainer.method.network.state_dict())


def test_both_sweeps_find_the_same_accuracies(run: CifarRun) -> None:
    distributions = distributions_of(run)
    predicted, scored = our_halves(run, distributions)
    plain = plain_sweep(run.plain, run.test, [each.indices for each in distributions])
    assert scored(predicted()) == pytest.approx(plain, abs=1e-9)
    assert run.trainer.loaders["train"].batch_size == BATCH


def test_ratios_are_those_of_the_rounds() -> None:
    rates = {torch.float32: [100.0] * 3}
    found = Comparison("x", "y/s", 8, {PLAIN: [4.0, 2.0, 8.0], "ours": [2.0, 2.0, 2.0]}, rates, 0.99, gflop=5)
    assert found.rate(PLAIN) == 2
    assert found.ratios("ours").tolist() == [2, 1, 4]
    assert found.as_json()["ratio"] == {"ours": 2}
    assert found.as_json()["ratio_range"] == {"ours": [1, 4]}
    assert found.share_of_peak("ours") == 4 * 5 / 100
    assert found.as_json()["share_of_matrix_peak"] == {PLAIN: 0.1, "ours": 0.2}
    assert "busy" not in report([found])
    busy = Comparison("x", "y/s", 8, found.seconds, rates, 0.4)
    assert "warning: a busy machine: 40 % of the threads' time was ours" in report([found, busy])


def test_ways_take_turns_and_the_first_round_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.alternating.matrix_rate", lambda _: (1.0, 1.0))
    order: list[str] = []
    ways = {name: lambda name=name: order.append(name) for name in (PLAIN, "ours")}
    found = by_turns("x", ways, amount=1, unit="y/s", rounds=2)
    assert order == [PLAIN, "ours"] * 3
    assert {name: len(seconds) for name, seconds in found.seconds.items()} == {PLAIN: 2, "ours": 2}
