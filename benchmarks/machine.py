"""What a figure was measured on, and what the machine could do in the same minute."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

_UNITS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_SIDE = 1536
QUIET = 0.85
"""Of the time that its threads could have computed, what a process gets on a machine that does nothing else."""


def processor_name() -> str:
    """The processor's name; elsewhere than on Linux the kind of machine."""
    return _cpu_field("model name") or platform.processor() or platform.machine()


def vector_units() -> list[str]:
    """Those of the processor's that matter here; empty where the system doesn't say."""
    flags = _cpu_field("flags").split()
    return [unit for unit in _UNITS if unit in flags]


def machine() -> dict[str, Any]:
    """Processor, threads and versions, for a result file."""
    return {
        "processor": processor_name(),
        "vector_units": vector_units(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "numpy", "pillow")},
    }


def matrix_rate(dtype: torch.dtype, seconds: float = 0.3) -> tuple[float, float]:
    """GFLOP/s of matrix products in a precision, and the part of the threads' time that this process got.

    A part below `QUIET` tells that the machine is busy: threads that wait for one another are several times slower.
    """
    left, right = torch.randn(2, _SIDE, _SIDE).to(dtype)
    out = left @ right
    done, wall, computing = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        torch.mm(left, right, out=out)
        done += 1
    spent = time.perf_counter() - wall
    share = (time.process_time() - computing) / (spent * torch.get_num_threads())
    return done * 2 * _SIDE**3 / spent / 1e9, min(share, 1.0)


def _cpu_field(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")
