"""No loss and no weight that is not a finite number reaches a checkpoint."""

from __future__ import annotations

import json
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from base import RunFolder, RunState
from utils.config import CONFIG_NAME
from utils.errors import RunError
from utils.files import write_text

_ACCELERATOR_INTERVAL = 50  # steps between two looks: each makes the host wait for the device

REPORT_NAME = "nonfinite-loss.json"


class _Step(NamedTuple):
    loss: Tensor
    epoch: int
    step: int
    rate: float
    keys: np.ndarray


class LossGuard:
    """Looks at every loss, and says exactly which step's was not finite.

    With "stop" the look may be late by some steps where each look costs a wait (`check` looks at all of them), but
    it always comes before a checkpoint. With "skip" it comes before each update, and what the forward pass changed
    in the network's buffers is undone. The weights are looked at before each checkpoint: the last step's loss may be
    finite and its update not.

    Args:
        action: end the run, or skip the step.
        max_skipped: end the run after so many skipped steps.
        network: whose buffers to restore.
        state: counts the skipped steps.
        folder: the run's, where the report of the step that ended the run goes.
    """

    def __init__(
        self, action: Literal["stop", "skip"], max_skipped: int, network: nn.Module, state: RunState, folder: RunFolder
    ) -> None:
        self.action = action
        self.max_skipped = max_skipped
        self.network = network
        self.state = state
        self.folder = folder
        self._pending: list[_Step] = []
        self._last: _Step | None = None
        self._buffers: list[Tensor] = []

    def before_forward(self) -> None:
        """Remember what a skipped step would have to put back."""
        if self.action == "skip":
            self._buffers = [buffer.clone() for buffer in self.network.buffers()]

    def admits(self, loss: Tensor, *, epoch: int, step: int, rate: float, keys: np.ndarray) -> bool:
        """Whether the weights may be updated from this loss (0-dim, on its device).

        Raises:
            RunError: the run has to end.
        """
        self._pending.append(_Step(loss.detach(), epoch, step, rate, keys))
        if self.action == "skip":
            return self._admits_or_restores()
        if loss.device.type == "cpu" or len(self._pending) >= _ACCELERATOR_INTERVAL:
            self._check_losses()
        return True

    def check(self) -> None:
        """Look at all losses since the last look, and at the weights.

        Raises:
            RunError: one of them is not finite.
        """
        self._check_losses()
        if self._last is None:
            return
        tensors = [value for value in self.network.state_dict().values() if value.is_floating_point()]
        if not bool(torch.stack([value.isfinite().all() for value in tensors]).all()):
            raise RunError(self._report("weights become infinite or nan", self._last))
        self._last = None

    def _check_losses(self) -> None:
        if not self._pending:
            return
        losses = torch.stack([entry.loss for entry in self._pending]).cpu().tolist()
        for loss, entry in zip(losses, self._pending, strict=True):
            if not np.isfinite(loss):
                raise RunError(self._report(f"the loss is {loss}", entry))
        self._last = self._pending[-1]
        self._pending.clear()

    def _admits_or_restores(self) -> bool:
        if bool(torch.isfinite(self._pending[-1].loss)):
            self._last = self._pending[-1]
            self._pending.clear()
            return True
        self.state.skipped_steps += 1
        if self.state.skipped_steps > self.max_skipped:
            self._check_losses()
        self._pending.clear()
        with torch.no_grad():
            for buffer, kept in zip(self.network.buffers(), self._buffers, strict=True):
                buffer.copy_(kept)
        return False

    def _report(self, what: str, at: _Step) -> str:
        """Write the facts of the step into the run's folder; returns the line for the user."""
        path = self.folder.path / REPORT_NAME
        checkpoints = self.folder.checkpoints()
        again = f"-r {checkpoints[0]}" if checkpoints else f"-c {self.folder.path / CONFIG_NAME}"
        command = f"python train.py {again}"
        facts = {
            "what": what,
            "loss": str(float(at.loss)),
            "epoch": at.epoch,
            "step": at.step,
            "learning_rate": at.rate,
            "indices": at.keys[:, 1].tolist(),
            "repeats": at.keys[:, 2].tolist(),
            "skipped_steps": self.state.skipped_steps,
            "repeat_with": command,
        }
        write_text(path, json.dumps(facts, indent=1) + "\n")
        skipped = f" after {self.state.skipped_steps} skipped steps" if self.state.skipped_steps else ""
        return (
            f"{what} in epoch {at.epoch}, step {at.step} (learning rate {at.rate:g}){skipped}: stopped, checkpoints "
            f"untouched; the batch's indices are in {path}, and {command} arrives at the same step again"
        )
