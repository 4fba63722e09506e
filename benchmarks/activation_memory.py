"""Memory of a training step with and without activation checkpointing: ResNet-50 with three experts, the real loss.

    python -m benchmarks.activation_memory --out activation_memory.json

One forward and backward pass, each way in a process of its own, so that the peak of its resident memory
(getrusage's ru_maxrss) belongs to it alone; on a GPU, where there is one, too (torch.cuda.max_memory_allocated).
"above" is the peak less what the process held before the step: activations, workspaces and the weights' gradients.
On the CPU, blocks of less than 32 MiB stay with malloc when they are freed, which hides part of what a small batch
saves; a GPU's allocator tells exactly what is in use.
The step is run twice and timed the second time, when the libraries have chosen their kernels; no weight is updated
in between, so both must have the same loss, as must both ways.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import platform
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import processor_name
from model.experts import ExpertModel
from model.losses.bs_expert import BSExpertLoss
from model.model import ResNet50Model

_MIB = 2**20
_CLASSES = 1000
_COUNTS = [1280 - 1275 * label // (_CLASSES - 1) for label in range(_CLASSES)]  # as ImageNet-LT's: 1280 to 5
_TAU = [0.0, 1.25, 2.5]


def measure(device: str, *, checkpoints: bool, batch: int, image_size: int) -> dict[str, Any]:
    """A step's peak memory, seconds and loss; to be run in a fresh process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network: ExpertModel = ResNet50Model(num_classes=_CLASSES, num_experts=len(_TAU), use_norm=True, returns_feat=True)
    network = network.to(device, memory_format=torch.channels_last).train()
    network.backbone.checkpoints_activations = checkpoints
    criterion = BSExpertLoss(_COUNTS, _TAU).to(device)
    images = torch.randn(batch, 3, image_size, image_size).to(device, memory_format=torch.channels_last)
    targets = (torch.arange(batch) % _CLASSES).to(device)
    before = _held(device)

    def step() -> float:
        network.zero_grad(set_to_none=True)
        result = network(images)
        loss = criterion(result["output"], targets, {"logits": result["logits"].transpose(0, 1)})
        loss.backward()
        if device != "cpu":
            torch.cuda.synchronize()
        return loss.item()

    losses = [step()]
    start = time.perf_counter()
    losses.append(step())
    seconds = time.perf_counter() - start
    peak = _peak(device)
    return {
        "device": device,
        "checkpoints": checkpoints,
        "peak_mib": peak / _MIB,
        "above_mib": (peak - before) / _MIB,
        "seconds": seconds,
        "losses": losses,
    }


def _held(device: str) -> int:
    """Bytes that the process holds now."""
    if device != "cpu":
        return torch.cuda.memory_allocated()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _peak(device: str) -> int:
    """The most bytes that the process has held."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def in_fresh_process(device: str, **settings: Any) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, device, **settings).result()


def compare(device: str, *, batch: int, image_size: int) -> dict[str, Any]:
    """Both ways, and their ratios, with checkpointing to without."""
    plain, checkpointed = (
        in_fresh_process(device, checkpoints=value, batch=batch, image_size=image_size) for value in (False, True)
    )
    return {
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "batch": batch,
        "image_size": image_size,
        "plain": plain,
        "checkpointed": checkpointed,
        "equal_losses": len({*plain["losses"], *checkpointed["losses"]}) == 1,
        "ratio": {name: checkpointed[name] / plain[name] for name in ("peak_mib", "above_mib", "seconds")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="JSON", help="file for the figures")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32], help="images a step; default: 8 and 32")
    parser.add_argument("--image_size", type=int, default=224, help="side of the images; default: 224")
    arguments = parser.parse_args()
    machine = {"processor": processor_name(), "python": platform.python_version(), "torch": version("torch")}
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    results = []
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    for device, batch in itertools.product(devices, arguments.batch):
        result = compare(device, batch=batch, image_size=arguments.image_size)
        results.append(result)
        print(f"{result['device']}, {batch} images of side {arguments.image_size}:")
        for name in ("plain", "checkpointed"):
            one = result[name]
            figures = f"{one['peak_mib']:.0f} MiB, {one['above_mib']:.0f} above, {one['seconds']:.1f} s"
            print(f"  {name:12} {figures}, loss {one['losses'][-1]:.9g}")
        ratios = ", ".join(f"{name} {value:.2f}" for name, value in result["ratio"].items())
        print(f"  {'ratio':12} {ratios}; losses {'equal' if result['equal_losses'] else 'DIFFER'}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
