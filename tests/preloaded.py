"""What a run imports when it first needs it: imported once, before the processes of `tests.ranks` are forked."""

import torch._dynamo
import torch.utils.tensorboard

import tests.trainer.small_runs

tests.trainer.small_runs.draw_nothing()

__all__ = ["tests", "torch"]
