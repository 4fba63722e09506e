"""Evaluate a checkpoint on its test split: `python test.py -r CHECKPOINT`."""

from utils.errors import run_main  # first: from here on an interrupt is quiet

# isort: split
from trainer.evaluation.scripts import run_test

if __name__ == "__main__":
    run_main(run_test)
