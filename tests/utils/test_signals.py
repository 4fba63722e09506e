"""Signals that end a run are noted at once, and obeyed by whoever asks; a second interrupt does not ask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from utils.signals import EXIT_CODES, RunStopped, StopSignals

ALL = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _handlers_as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ALL}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_exit_codes_are_those_that_shells_and_batch_systems_know() -> None:
    """128 + the signal's number; SIGUSR1 announces the end of the time that was granted, which is no failure."""
    assert EXIT_CODES == {
        signal.SIGTERM: 128 + 15,
        signal.SIGINT: 128 + 2,
        signal.SIGUSR1: 0,
        signal.SIGHUP: 128 + 1,
    }
    assert RunStopped(signal.SIGTERM, "stopped").exit_code == 143


@pytest.mark.parametrize("number", ALL)
def test_a_signal_is_noted_and_nothing_else_happens(number: signal.Signals) -> None:
    with StopSignals() as signals:
        assert signals.received is None
        os.kill(os.getpid(), number)
        assert signals.received is number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_batch_system_may_repeat_itself(number: signal.Signals) -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert signals.received is number


def test_afterwards_signals_mean_what_they_meant_before() -> None:
    before = {number: signal.getsignal(number) for number in ALL}
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert {number: signal.getsignal(number) for number in ALL} != before
    assert {number: signal.getsignal(number) for number in ALL} == before
    assert signals.received is signal.SIGINT


def test_a_hangup_that_nohup_has_switched_off_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received is signal.SIGTERM
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


TWICE = """
import os, signal
from utils.signals import StopSignals

with StopSignals():
    os.kill(os.getpid(), signal.SIGINT)
    print("still here", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("never", flush=True)
"""


def test_a_second_interrupt_ends_the_process_at_once() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", TWICE],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "still here\n", "")
