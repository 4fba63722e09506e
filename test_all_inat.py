"""Evaluate a checkpoint on shifted test distributions: `python test_all_inat.py -r CHECKPOINT`."""

from utils.errors import run_main  # first: from here on an interrupt is quiet

# isort: split
from functools import partial

from trainer.evaluation.scripts import run_sweep

if __name__ == "__main__":
    run_main(partial(run_sweep, "inat"))
