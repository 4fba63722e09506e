"""Which functions in C there are on this machine, what they are for, and what they read."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from utils.native_code import load_c

UNITS = torch.backends.cpu.get_cpu_capability()
"""The widest units of this processor: "AVX2", "AVX512" or others."""
LANES = 16 if UNITS == "AVX512" else 8
"""float32 numbers in a register: channels are multiples of it."""
_BFLOAT16 = {"amx_bf16": "tiles", "avx512_bf16": "pairs"}  # the faster first
_FOLDER = Path(__file__).parent


def kernels(name: str, *definitions: str) -> ctypes.CDLL | None:
    """The functions of `name`.c in this folder, compiled at their first use; None where they can't be had.

    Args:
        name: of the file.
        definitions: of its macros, besides LANES: "NAME" or "NAME=VALUE".
    """
    return load_c(_FOLDER / f"{name}.c", f"LANES={LANES}", *definitions)


def bfloat16_units() -> str:
    """The units for products of bfloat16 that PyTorch uses on this processor: "tiles" (AMX), "pairs" or ""."""
    units = torch.cpu.get_capabilities() if UNITS == "AVX512" else {}
    return next((kind for name, kind in _BFLOAT16.items() if units.get(name, False)), "")


def suits(images: Tensor, *dtypes: torch.dtype) -> bool:
    """Whether images [B, C, H, W] are as the functions read them: of such a dtype, channels last, on a CPU."""
    return (
        not torch.compiler.is_compiling()
        and type(images) is Tensor  # no stand-in that counts operations
        and images.device.type == "cpu"
        and images.dtype in dtypes
        and images.dim() == 4
        and images.size(1) % LANES == 0
        and images.is_contiguous(memory_format=torch.channels_last)
    )
