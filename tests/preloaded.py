"""What a run imports when it first needs it: imported once, before the processes of `tests.ranks` are forked."""

import gc

import torch.utils.tensorboard

import tests.trainer.small_runs
from utils.late_compiler import import_compiler_late

import_compiler_late()
tests.trainer.small_runs.draw_nothing()
gc.freeze()

__all__ = ["tests", "torch"]
