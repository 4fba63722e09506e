"""Training images a second of a whole epoch, ours against the plain way, and what of ours is not the step.

    python -m benchmarks.end_to_end --out benchmarks/results/end_to_end_cpu.json

The CIFAR-100-LT recipe on made-up images. The plain way reads its images through Pillow in two worker processes; ours
has progress bar, meters and the checks for losses that are no number, as a user's run has them. "loading alone" is the
same epoch of ours without mixing, network and update: reading, cropping, flipping, normalising.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

from benchmarks.alternating import PLAIN, Comparison, by_turns
from benchmarks.bench_flags import run_benchmark
from benchmarks.cifar_run import BATCH, TAUS, CifarRun, cifar_run
from benchmarks.plain import plain_step

_SHARE = sum(0.01 ** (label / 99) for label in range(100))  # images of the tail for one of its largest class


def measured(rounds: int, *, steps: int = 8) -> Comparison:
    """Both by turns, an epoch of about `steps` batches a round."""
    with tempfile.TemporaryDirectory() as folder:
        run = cifar_run(Path(folder), largest_class=round(steps * BATCH / _SHARE), test_images=100)
        ways = {PLAIN: plain_epoch(run), **run.in_each_precision(our_epoch(run)), "loading alone": our_loading(run)}
        gflop = run.training_gflop()
        return by_turns("training epoch", ways, amount=len(run.train), unit="images/s", rounds=rounds, gflop=gflop)


def plain_epoch(run: CifarRun) -> Callable[[], None]:
    """Worker processes start anew each epoch, as they do by default."""
    optimizer = run.plain_optimizer()
    run.plain.train()

    def epoch() -> None:
        for images, targets in run.train.batches(shuffle=True):
            plain_step(run.plain, optimizer, images, targets, taus=TAUS, log_prior=run.log_prior)

    return epoch


def our_epoch(run: CifarRun) -> Callable[[], None]:
    """The trainer's own."""
    epochs = count(1)

    def epoch() -> None:
        run.trainer.state.step = 0
        run.trainer.train_steps(next(epochs))

    return epoch


def our_loading(run: CifarRun) -> Callable[[], None]:
    """Its batches as the network would get them."""
    epochs = count(1)

    def epoch() -> None:
        for batch in run.trainer.loaders["train"].epoch(next(epochs)):
            batch.view("train")

    return epoch


def main() -> None:
    """Measure with the flags of the command line."""
    run_benchmark(__doc__, {"end_to_end": measured})


if __name__ == "__main__":
    main()
