"""Evaluate a checkpoint on its test split: `python test.py -r CHECKPOINT`."""

from trainer.evaluation.scripts import run_test
from utils.errors import run_main

if __name__ == "__main__":
    run_main(run_test)
