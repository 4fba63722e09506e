"""What a run imports when it first needs it: imported once, before the processes of `tests.ranks` are forked."""

import matplotlib.backends.backend_agg
import matplotlib.pyplot
import torch._dynamo
import torch.utils.tensorboard

import tests.trainer.small_runs

__all__ = ["matplotlib", "tests", "torch"]
