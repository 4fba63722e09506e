"""No loss, weight, statistic or moment that is not a finite number reaches a checkpoint."""

from __future__ import annotations

import json
import math
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from base import RunFolder, RunState, Stateful, Step
from utils.config.parser import CONFIG_NAME
from utils.device_copies import copies_of, copy_all
from utils.distributed.context import DistributedContext
from utils.errors import RunError
from utils.files.checkpoint_names import checkpoint_name
from utils.files.writing import write_text

_LARGEST = torch.finfo(torch.float32).max ** 0.5  # norms of what is larger are infinite
_INTERVAL = 50  # steps between two looks where each makes the host wait for a device or for other processes

REPORT_NAME = "nonfinite-loss.json"
DIVERGED_NAME = "diverged.pth"


class _Entry(NamedTuple):
    loss: Tensor
    step: Step
    rate: float
    sample_ids: np.ndarray


class LossGuard:
    """Looks at every loss, and says exactly which step's was not finite.

    With "stop" the look may be late by some steps where each look costs a wait (`check` looks at all of them), but
    it always comes before a checkpoint. With "skip" it comes before each update, and what the forward pass changed
    in the network's buffers is undone. What has been learnt is looked at before each checkpoint, and so is the loss of
    each validation: the last step's loss may be finite and its update not.

    Args:
        action: end the run, or skip the step.
        max_skipped: end the run after so many skipped steps.
        network: whose buffers to restore.
        learnt: name in a checkpoint → what training changes: networks, the averaged ones as well, and moments; empty:
            `network`.
        state: counts the skipped steps.
        folder: the run's, where the report of the step that ended the run goes.
        distributed: the processes that share each batch: they look at the loss of the whole, and judge alike.
    """

    def __init__(
        self,
        action: Literal["stop", "skip"],
        max_skipped: int,
        network: nn.Module,
        state: RunState,
        folder: RunFolder,
        *,
        distributed: DistributedContext,
        learnt: Mapping[str, Stateful] | None = None,
    ) -> None:
        self.action = action
        self.max_skipped = max_skipped
        self.network = network
        self.learnt = learnt or {"state_dict": network}
        self.state = state
        self.folder = folder
        self.distributed = distributed
        self._pending: list[_Entry] = []
        self._last: _Entry | None = None
        self._buffers: list[Tensor] = []

    def before_step(self) -> None:
        """Remember what a skipped step would have to put back."""
        if self.action == "skip":
            self._buffers = copies_of(self.network.buffers())

    def is_finite_step(self, loss: Tensor, step: Step, rate: float, sample_ids: np.ndarray) -> bool:
        """Whether the weights may be updated.

        Args:
            loss: this process's part of the batch's loss, 0-dim, on its device; those of all processes add up to it.
            step: where training stands.
            rate: the learning rate.
            sample_ids: of this process's images.

        Raises:
            RunError: the run has to end.
        """
        self._pending.append(_Entry(loss.detach(), step, rate, sample_ids))
        if self.action == "skip":
            return self._is_finite_or_restores()
        looking_is_free = loss.device.type == "cpu" and self.distributed.size == 1
        if looking_is_free or len(self._pending) >= _INTERVAL:
            self._check_losses()
        return True

    def check(self) -> None:
        """Look at all losses since the last look, and at what has been learnt.

        Raises:
            RunError: one of them is not finite.
        """
        self._check_losses()
        if self._last is None:
            return
        broken = [name for name, part in self.learnt.items() if not _is_sound(part.state_dict(), _most(name))]
        if found := [name for names in self.distributed.gather(broken) for name in names]:
            raise RunError(self._report(f"{_in_words(found[0])} become infinite or nan", self._last))

    def check_validation(self, log: Mapping[str, float], epoch: int) -> None:
        """Look at the losses of a validation: weights may be finite and so large that no logit is.

        A checkpoint that the clock has had written since the epoch's last step gets a name that `-r auto` passes over.

        Args:
            log: what is logged of it.
            epoch: after which it was.

        Raises:
            RunError: one of the losses is not finite.
        """
        for name, value in log.items():
            if name.endswith("_loss") and not math.isfinite(value):
                if not self.distributed.is_main:
                    raise RunError("")
                written = self.folder.path / checkpoint_name(self.state.epoch, self.state.step)
                if written.is_file():
                    written.replace(written.with_name(DIVERGED_NAME))
                told = f"{name} is {value} after epoch {epoch}: training has diverged; stopped, the epoch is not saved"
                raise RunError(f"{told}; lower optimizer.args.lr")

    def _check_losses(self) -> None:
        if not self._pending:
            return
        for entry in self._examined():
            if not entry.loss.isfinite():
                raise RunError(self._report(f"the loss is {float(entry.loss)}", entry))
            self._last = entry

    def _examined(self) -> list[_Entry]:
        """The pending steps with the losses of their whole batches, on the CPU; none is pending any more."""
        losses = self.distributed.sum(torch.stack([entry.loss for entry in self._pending]).cpu())
        examined = [entry._replace(loss=loss) for loss, entry in zip(losses, self._pending, strict=True)]
        self._pending.clear()
        return examined

    def _is_finite_or_restores(self) -> bool:
        (entry,) = self._examined()
        if entry.loss.isfinite():
            self._last = entry
            return True
        self.state.skipped_steps += 1
        if self.state.skipped_steps > self.max_skipped:
            raise RunError(self._report(f"the loss is {float(entry.loss)}", entry))
        copy_all(self.network.buffers(), self._buffers)
        return False

    def _report(self, what: str, at: _Entry) -> str:
        """Write the metadata of the step into the run's folder; returns the line for the user ("" but in rank 0)."""
        sample_ids = np.concatenate(self.distributed.gather(at.sample_ids))
        if not self.distributed.is_main:
            return ""
        path = self.folder.path / REPORT_NAME
        checkpoints = self.folder.checkpoints()
        again = ["-r", checkpoints[0]] if checkpoints else ["-c", self.folder.path / CONFIG_NAME]
        command = shlex.join(["python", "train.py", *map(str, again)])
        facts = {
            "what": what,
            "loss": str(float(at.loss)),
            "epoch": at.step.epoch,
            "step": at.step.index,
            "learning_rate": at.rate,
            "indices": sample_ids[:, 1].tolist(),
            "repeats": sample_ids[:, 2].tolist(),
            "skipped_steps": self.state.skipped_steps,
            "repeat_with": command,
        }
        write_text(path, json.dumps(facts, indent=1) + "\n")
        skipped = f" after {self.state.skipped_steps} skipped steps" if self.state.skipped_steps else ""
        return (
            f"{what} in epoch {at.step.epoch}, step {at.step.index} (learning rate {at.rate:g}){skipped}: stopped, "
            f"checkpoints are unaffected; the batch's image indices are in {path}; reproduce with: {command}"
        )


def _most(part: str) -> float:
    """How large a number in a part of a checkpoint may be; moments are squares already."""
    return math.inf if part == "optimizer" else _LARGEST


def _is_sound(state: Any, most: float) -> bool:
    """Whether the size of all numbers in the tensors of a state is below `most`; waits for each device once."""
    by_device: defaultdict[torch.device, list[Tensor]] = defaultdict(list)
    for tensor in _floating_tensors(state):
        if tensor.numel():
            by_device[tensor.device].append(tensor.abs().amax() < most)  # of nan it is not
    return all(bool(torch.stack(flags).all()) for flags in by_device.values())


def _floating_tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        if state.is_floating_point():
            yield state
    elif isinstance(state, (Mapping, list, tuple)):
        for item in state.values() if isinstance(state, Mapping) else state:
            yield from _floating_tensors(item)


def _in_words(part: str) -> str:
    """What a part of a checkpoint holds."""
    if part == "optimizer":
        return "the optimiser's moments"
    return "weights" if part.endswith("state_dict") else f"the numbers in {part}"
