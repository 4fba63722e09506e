"""Running a network over a split: every image's logits, in file order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from base import Batch
from tests.trainer.small_runs import CPU, small_config, small_trainer
from trainer.evaluation.predictions import _Gathered, predict


def test_predict_gives_each_images_logits_in_file_order_whatever_the_batches(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, small_config(arch__args__dropout=0.5, data_loader__args__batch_size=64))
    network = trainer.method.network
    loader = trainer.loaders["train"].of_split("test")
    network.train()
    logits, targets, skipped = predict(network, loader, CPU)
    assert not len(skipped)
    trainer.recorder.close()
    assert logits.shape == (500, 2, 10)
    assert (logits.dtype, targets.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(targets, loader.targets)
    assert network.training, "it is put back into the mode it was in"
    network.eval()
    with torch.no_grad():
        for image in (0, 63, 64, 499):  # one by one: neither BatchNorm's batch nor dropout plays a part
            normalised = (loader.images.images[[image]] / 255 - 0.306) / 0.318
            expected = network(normalised)["logits"][0].numpy()
            np.testing.assert_allclose(logits[image], expected, atol=1e-4)


def test_predict_of_one_expert_has_an_axis_of_one(tmp_path: Path) -> None:
    config = small_config(arch__args__num_experts=1, loss__args__tau_list=[1])
    trainer = small_trainer(tmp_path, config)
    trainer.recorder.close()
    logits, _, _ = predict(trainer.method.network, trainer.loaders["train"].of_split("test"), CPU)
    assert logits.shape == (500, 1, 10)


def test_the_next_batch_is_read_before_the_logits_of_the_last_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU computes meanwhile; fetching waits for it."""
    trainer = small_trainer(tmp_path, small_config(data_loader__args__batch_size=200))
    trainer.recorder.close()
    events: list[str] = []
    keep = _Gathered.add

    def watch(batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            events.append("read")
            yield batch

    def add(gathered: _Gathered, logits: torch.Tensor, step: int) -> None:
        events.append("fetched")
        keep(gathered, logits, step)

    monkeypatch.setattr(_Gathered, "add", add)
    trainer.method.network.register_forward_hook(lambda *_: events.append("run"))
    predict(trainer.method.network, trainer.loaders["train"].of_split("test"), CPU, watch=watch)
    assert events == ["read", "run", "read", "fetched", "run", "read", "fetched", "run", "fetched"]
