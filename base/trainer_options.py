"""Section `trainer` of the configuration: how long, how often, on what and in which precision a run trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from utils.config.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt, Range

_MOST_MICRO_BATCHES = 100_000
PrecisionName = Literal["fp32", "tf32", "bf16", "fp16", "auto"]


@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """Section `trainer` of the configuration.

    Args:
        epochs: epochs to train.
        save_dir: folder for runs.
        save_period: a checkpoint every so many epochs; the last epoch always has one.
        checkpoint_minutes: besides, a checkpoint within an epoch every so many minutes; 0: none.
        keep_last: keep this many of the checkpoints at the ends of epochs; 0: all.
        verbosity: 0, 1, 2: warnings, info, debug.
        monitor: "off", or "max NAME" / "min NAME": the quantity by which `model_best.pth` is chosen.
        early_stop: end after so many epochs without improvement; 0: never.
        validate: evaluate on the validation split after each epoch.
        wandb: send scalars to Weights & Biases, too.
        report: write the run's page, `report.html`, after training and after each evaluation.
        parallel: what several GPUs are used by: "ddp": a process for each, started by the program itself or by
            torchrun; "dp": DataParallel, one process; "none": one GPU.
        sync_batchnorm: BatchNorm's statistics over the images of all processes (GPUs only), not of each alone.
        precision: of the network: "fp32"; "tf32": convolutions in TF32 on GPUs that have it, PyTorch's own default;
            "bf16" or "fp16" by autocast; "auto": the fastest that is safe on the device. Losses, log-priors and the
            cosine classifier are computed in float32 always.
        accumulate_steps: micro-batches that each process takes its share of a batch in, one after the other, to need
            less memory; "auto": as few as fit into the GPU's memory; null: as many as keep the images that a GPU has
            at once what they are on `n_gpu` GPUs.
        activation_checkpointing: keep each block's input only, and compute the block again for the gradient: less
            memory, a third more time.
        compile: let torch.compile fuse the network's operations; each size of batches has a program of its own.
            "reduce-overhead" and "max-autotune" are torch.compile's modes: on a GPU a step's kernels are replayed as
            one CUDA graph; the second also tries which kernels are fastest, which takes long.
        channels_last: keep images with their channels innermost in memory, which convolutions on CPUs and on GPUs in
            half precision are faster with; the results are the same but for rounding.
        on_nonfinite: what to do about a loss that is no finite number: end the run, or skip the step.
        max_skipped_steps: with "skip", the run ends all the same after so many skipped steps.
    """

    epochs: PositiveInt
    save_dir: str
    save_period: PositiveInt = 1
    checkpoint_minutes: NonNegativeFloat = 15.0
    keep_last: NonNegativeInt = 0
    verbosity: Literal[0, 1, 2] = 2
    monitor: str = "off"
    early_stop: NonNegativeInt = 0
    validate: bool = False
    wandb: bool = False
    report: bool = True
    parallel: Literal["ddp", "dp", "none"] = "ddp"
    sync_batchnorm: bool = False
    precision: PrecisionName = "tf32"
    accumulate_steps: Annotated[int, Range(low=1, high=_MOST_MICRO_BATCHES)] | Literal["auto"] | None = None
    activation_checkpointing: bool = False
    compile: bool | Literal["reduce-overhead", "max-autotune"] = False
    channels_last: bool = True
    on_nonfinite: Literal["stop", "skip"] = "stop"
    max_skipped_steps: PositiveInt = 100

    @property
    def replays_graphs(self) -> bool:
        """Whether a GPU's kernels are to be replayed as CUDA graphs, of one forward and backward pass a step."""
        return isinstance(self.compile, str)
