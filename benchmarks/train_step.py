"""Training images a second of one step, ours against the plain way: the CIFAR-100-LT recipe, ResNet-32 × 3 experts.

    python -m benchmarks.train_step --out benchmarks/results/train_step_cpu.json

Both have the same images at hand and the same weights to begin with. Ours crops and flips them within the step. The
plain step gets its batch ready-made, and pays for that in `benchmarks.end_to_end`. Where the processor has units for
bfloat16, ours is measured with `--precision bf16`, too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import count, cycle, islice
from pathlib import Path

from base import Step
from benchmarks.alternating import PLAIN, Comparison, by_turns
from benchmarks.bench_flags import run_benchmark
from benchmarks.cifar_run import BATCH, TAUS, CifarRun, cifar_run
from benchmarks.plain import plain_step


def measured(rounds: int, *, steps: int = 3) -> Comparison:
    """Both by turns, `steps` batches a round."""
    with tempfile.TemporaryDirectory() as folder:
        run = cifar_run(Path(folder), largest_class=100, test_images=100)
        ways = {PLAIN: plain_way(run, steps), **run.in_each_precision(our_way(run, steps))}
        gflop = run.training_gflop()
        return by_turns("training step", ways, amount=steps * BATCH, unit="images/s", rounds=rounds, gflop=gflop)


def plain_way(run: CifarRun, steps: int) -> Callable[[], None]:
    """So many plain steps on ready batches."""
    batches = cycle(list(islice(run.train.batches(shuffle=True), steps)))
    optimizer = run.plain_optimizer()
    run.plain.train()

    def take_steps() -> None:
        for images, targets in islice(batches, steps):
            plain_step(run.plain, optimizer, images, targets, taus=TAUS, log_prior=run.log_prior)

    return take_steps


def our_way(run: CifarRun, steps: int) -> Callable[[], None]:
    """So many of the trainer's."""
    batches = cycle(list(islice(run.trainer.loaders["train"].epoch(1), steps)))
    numbers = count()
    run.trainer.method.start_epoch(1)

    def take_steps() -> None:
        for batch in islice(batches, steps):
            run.trainer.train_step({"train": batch}, Step(1, next(numbers)))

    return take_steps


def main() -> None:
    """Measure with the flags of the command line."""
    run_benchmark(__doc__, {"train_step": measured})


if __name__ == "__main__":
    main()
