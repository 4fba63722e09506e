"""One update, its means and the validation, against plain PyTorch written by hand and against scikit-learn."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as reference
from torch import Tensor

from base import Step
from tests.trainer.small_runs import run, small_config, small_trainer
from trainer.trainer import Trainer
from utils.reporting.meters import RunningMeans

pytestmark = pytest.mark.usefixtures("_quick")

ONE_STEP = {"trainer__epochs": 1, "data_loader__args__batch_size": 500}
COUNTS = [int(20 * 0.1 ** (i / 9)) for i in range(10)]  # 20 images of class 0 down to 2 of class 9
MEAN, STD = 0.306, 0.318


def only_batch(trainer: Trainer) -> tuple[Tensor, Tensor]:
    """The whole epoch as one batch: network input [B, 3, H, W] and targets [B]."""
    loader = trainer.loaders["train"]
    (batch,) = loader.epoch(1)
    return loader.transform(batch.images, batch.sample_ids), batch.targets


def adjusted_cross_entropies(expert_logits: Tensor, targets: Tensor, taus: list[float]) -> list[Tensor]:
    """Each expert's loss, from logits [B, E, C], by the paper's formula."""
    prior = torch.tensor(COUNTS, dtype=torch.float32) / sum(COUNTS)
    losses = []
    for expert, tau in enumerate(taus):
        z = expert_logits[:, expert] + tau * torch.log(prior + 1e-9)
        log_p = z - z.exp().sum(dim=1, keepdim=True).log()
        losses.append(-log_p[torch.arange(len(targets)), targets].mean())
    return losses


def hand_written_update(network: torch.nn.Module, lr: float, weight_decay: float, momentum: float) -> None:
    """The first step of SGD with Nesterov momentum: the velocity is the gradient, the look-ahead momentum times it."""
    with torch.no_grad():
        for weight in network.parameters():
            gradient = weight.grad + weight_decay * weight
            weight.sub_(lr * (gradient + momentum * gradient))


@pytest.mark.parametrize("strategy", ["mix_input", "mix_logits"])
def test_a_step_is_the_hand_written_one(tmp_path: Path, strategy: str) -> None:
    config = small_config(
        **ONE_STEP,
        combiner__mixup__target_mix_strategy=strategy,
        loss__return_expert_losses=True,
        lr_scheduler__args={"step1": 5, "step2": 6, "warmup_epoch": 4},
        metrics=["accuracy", "top_k_acc"],
    )
    trainer = small_trainer(tmp_path / "run", config)
    network = copy.deepcopy(trainer.method.network)
    images, targets = only_batch(trainer)
    mixed = trainer.method.mixing(images, targets, Step(1, 0))
    share, partner = mixed.targets.mix_lambda, mixed.partner
    assert share not in (0, 1)

    trainer.train()

    network.train()
    if strategy == "mix_input":
        # λx + (1−λ)x[partner], rounded as it is there: a batch's statistics magnify the rounding of its images
        logits = network(torch.lerp(images[partner], images, share))["logits"]
    else:
        raw = network(images)["logits"]
        logits = share * raw + (1 - share) * raw[partner]
    own = adjusted_cross_entropies(logits, targets, [0, 2])
    partners = adjusted_cross_entropies(logits, targets[partner], [0, 2])
    by_expert = [share * a + (1 - share) * b for a, b in zip(own, partners, strict=True)]
    loss = sum(by_expert) / 2
    loss.backward()
    hand_written_update(network, lr=0.05 * 1 / 4, weight_decay=5e-4, momentum=0.9)

    trained = trainer.method.network.state_dict()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(trained[name], value, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: name + text)

    (log,) = trainer.state.history
    assert log["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert log["loss_e_0"] == pytest.approx(by_expert[0].item(), rel=1e-5)
    assert log["loss_e_1"] == pytest.approx(by_expert[1].item(), rel=1e-5)
    assert log["lr"] == pytest.approx(0.05 / 4)
    output = logits.detach().mean(dim=1).numpy()
    labels = np.arange(10)
    for name, score in (
        ("accuracy", lambda y: reference.accuracy_score(y, output.argmax(1))),
        ("top_k_acc", lambda y: reference.top_k_accuracy_score(y, output, k=5, labels=labels)),
    ):
        expected = share * score(targets.numpy()) + (1 - share) * score(targets[partner].numpy())
        assert log[name] == pytest.approx(expected, abs=1e-6), name


def test_a_step_with_plain_cross_entropy_is_that_of_the_ensemble(tmp_path: Path) -> None:
    config = small_config(**ONE_STEP, loss={"type": "CrossEntropyLoss"}, combiner__mode="default")
    trainer = small_trainer(tmp_path / "run", config)
    network = copy.deepcopy(trainer.method.network)
    images, targets = only_batch(trainer)
    trainer.train()
    loss = F.cross_entropy(network(images)["logits"].mean(dim=1), targets)
    loss.backward()
    hand_written_update(network, lr=0.05, weight_decay=5e-4, momentum=0.9)
    for ours, theirs in zip(trainer.method.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert trainer.state.history[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_weight_decay_reaches_every_parameter(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path / "run", small_config())
    groups = trainer.optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [5e-4]
    parameters = list(trainer.method.network.parameters())
    assert [id(p) for p in groups[0]["params"]] == [id(p) for p in parameters]


def test_an_epochs_means_are_over_images_not_over_steps(tmp_path: Path) -> None:
    """At rate 0 each batch's loss can be computed beside the trainer; the last batch is smaller than the others."""
    config = small_config(trainer__epochs=1, optimizer__args__lr=0.0, combiner__mode="default")
    trainer = small_trainer(tmp_path / "run", config)
    network = copy.deepcopy(trainer.method.network).train()
    loader = trainer.loaders["train"]
    losses, hits, sizes = [], [], []
    for batch in loader.epoch(1):
        with torch.no_grad():
            logits = network(loader.transform(batch.images, batch.sample_ids))["logits"]
        losses.append(torch.stack(adjusted_cross_entropies(logits, batch.targets, [0, 2])).mean().item())
        hits.append((logits.mean(1).argmax(1) == batch.targets).sum().item())
        sizes.append(len(batch.targets))
    assert sizes == [32, 32, sum(COUNTS) - 64]
    trainer.train()
    (log,) = trainer.state.history
    assert log["loss"] == pytest.approx(np.average(losses, weights=sizes), rel=1e-5)
    assert log["accuracy"] == pytest.approx(sum(hits) / sum(sizes), abs=1e-6)


def test_running_means_weigh_by_images_and_start_anew() -> None:
    means = RunningMeans()
    assert means.means() == {}
    means.add({"loss": torch.tensor(1.0), "accuracy": torch.tensor(0.5)}, 3)
    means.add({"loss": torch.tensor(5.0), "accuracy": torch.tensor(1.0)}, 1)
    assert means.means() == pytest.approx({"loss": 2.0, "accuracy": 0.625})
    kept = copy.deepcopy(means.state_dict())
    means.reset()
    assert means.means() == {}
    means.load_state_dict(kept)
    means.add({"loss": torch.tensor(2.0), "accuracy": torch.tensor(0.0)}, 4)
    assert means.means() == pytest.approx({"loss": 2.0, "accuracy": 0.3125})


def test_running_means_of_many_small_terms_lose_nothing() -> None:
    means = RunningMeans()
    for _ in range(3000):
        means.add({"loss": torch.tensor(0.1)}, 10**6)
    assert means.means()["loss"] == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


def test_validation_agrees_with_scikit_learn(tmp_path: Path) -> None:
    config = small_config(trainer__epochs=2, trainer__validate=True, metrics=["accuracy", "top_k_acc"])
    trainer = small_trainer(tmp_path / "run", config)
    trainer.train()
    validation = trainer.loaders["train"].split_validation()
    images = torch.cat([batch.images for batch in validation.epoch(0)])
    targets = np.concatenate([batch.targets.numpy() for batch in validation.epoch(0)])
    assert len(targets) == 100
    network = copy.deepcopy(trainer.method.network).eval()
    with torch.no_grad():
        output = network((images / 255 - MEAN) / STD)["logits"].mean(dim=1)
    predictions, probabilities = output.argmax(1).numpy(), torch.softmax(output.double(), 1).numpy()
    log = trainer.state.history[-1]
    labels = np.arange(10)
    assert log["val_accuracy"] == pytest.approx(reference.accuracy_score(targets, predictions))
    assert log["val_balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(targets, predictions))
    assert log["val_loss"] == pytest.approx(reference.log_loss(targets, probabilities, labels=labels), rel=1e-4)
    top5 = reference.top_k_accuracy_score(targets, output.numpy(), k=5, labels=labels)
    assert log["val_top_k_acc"] == pytest.approx(top5)


def test_validation_leaves_the_training_as_it_would_be_without(tmp_path: Path) -> None:
    with_it = run(tmp_path / "a", small_config(trainer__validate=True, arch__args__dropout=0.3))
    without = run(tmp_path / "b", small_config(trainer__validate=False, arch__args__dropout=0.3))
    for name, value in with_it["state_dict"].items():
        assert torch.equal(value, without["state_dict"][name]), name


def test_history_has_a_line_for_each_epoch(tmp_path: Path) -> None:
    config = small_config(trainer__epochs=3, trainer__validate=True)
    trainer = small_trainer(tmp_path / "run", config)
    trainer.train()
    assert [line["epoch"] for line in trainer.state.history] == [1, 2, 3]
    assert [line["lr"] for line in trainer.state.history] == pytest.approx([0.05, 0.005, 0.0005])
    names = {"epoch", "loss", "accuracy", "lr", "val_loss", "val_balanced_accuracy", "val_accuracy"}
    assert all(set(line) == names for line in trainer.state.history)


@pytest.mark.parametrize(("values", "rates"), [([3.0, 3.0, 3.0], [1, 1, 0.5]), ([3.0, 2.0, 1.0], [1, 1, 1])])
def test_plateau_schedule_follows_the_monitored_quantity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[float], rates: list[float]
) -> None:
    """Patience 0: the rate is halved as soon as an epoch brings no improvement."""
    config = small_config(
        trainer__epochs=3,
        trainer__validate=True,
        trainer__monitor="min val_loss",
        optimizer__args__lr=1.0,
        lr_scheduler={"type": "ReduceLROnPlateau", "args": {"patience": 0, "factor": 0.5}},
    )
    trainer = small_trainer(tmp_path / "run", config)

    def no_steps(epoch: int) -> None:
        trainer.meters.add({"loss": torch.tensor(1.0)}, 1)

    def validate(epoch: int) -> dict[str, Any]:
        return {"val_loss": values[epoch - 1]}

    monkeypatch.setattr(trainer, "train_steps", no_steps)
    monkeypatch.setattr(trainer, "validate", validate)
    trainer.train()
    assert [line["lr"] for line in trainer.state.history] == pytest.approx(rates)
