"""What `train.py --images` says of how long it will take."""

from __future__ import annotations

import pytest

from tests.trainer.small_runs import CPU, small_config
from trainer.config.run_config import run_config
from trainer.own_images.duration import in_words, seconds_of_epoch, seconds_of_step
from utils.config.parser import ConfigParser


@pytest.mark.parametrize(("workers", "seconds"), [(0, 21.0 + 6.0), (2, 21.0)])
def test_reading_counts_where_the_network_waits_for_it(workers: int, seconds: float) -> None:
    """100 images in steps of 10 that take 2 s: 20 s; 15 images to validate are a third of one and a half steps."""
    sizes = {"batch": 10, "trained": 100, "validated": 15}
    read = 6.0 / 115
    found = seconds_of_epoch(step=2.0, read=read, read_trained=read, workers=workers, **sizes)
    assert found == pytest.approx(seconds)


def test_images_to_train_on_may_be_read_faster_than_those_to_validate_on() -> None:
    """100 · 0.1 s and 15 · 0.4 s beside no time at all for the network."""
    sizes = {"batch": 10, "trained": 100, "validated": 15}
    found = seconds_of_epoch(step=0.0, read=0.4, read_trained=0.1, workers=0, **sizes)
    assert found == pytest.approx(10 + 6)


def test_where_reading_takes_longer_workers_decide() -> None:
    reads = {"read": 1.0, "read_trained": 1.0}
    assert seconds_of_epoch(step=0.1, **reads, batch=10, trained=100, validated=0, workers=2) == 100.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "about 10 seconds"),
        (44, "about 40 seconds"),
        (89, "about 90 seconds"),
        (100, "about 2 minutes"),
        (3600, "about 60 minutes"),
        (2 * 3600, "about 2 hours"),
    ],
)
def test_durations_are_told_no_finer_than_they_are_known(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_step_is_measured_by_the_runs_network() -> None:
    config = run_config(ConfigParser(small_config(), source="a test"))
    few, many = (seconds_of_step(config, images=images, side=16, device=CPU) for images in (2, 128))
    assert 0 < few < many
