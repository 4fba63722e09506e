"""Functions in C: each file is sound C for every processor that it is for, whichever processor this is.

Where one can't be compiled PyTorch computes everything, so that no other test would fail.
"""

from __future__ import annotations

import platform
import subprocess

import pytest

from tests.scripts.command_line import ROOT
from utils.native_code import _compiler

_WIDE, _NARROW = ("sapphirerapids", "-DLANES=16"), ("haswell", "-DLANES=8")
VARIANTS = [
    ("model/kernels/batch_norm.c", *_WIDE),
    ("model/kernels/batch_norm.c", *_WIDE, "-DBFLOAT16"),
    ("model/kernels/batch_norm.c", *_NARROW),
    ("model/kernels/weight_gradient.c", *_NARROW),
    ("model/kernels/weight_gradient_bf16_tiles.c", *_WIDE),
    ("model/kernels/weight_gradient_bf16_pairs.c", *_WIDE),
    ("model/kernels/convolution_bf16_pairs.c", *_WIDE),
    ("data_loader/transforms/colour.c", "haswell"),
    ("data_loader/transforms/planes.c", "haswell"),
]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the files are for x86-64")
@pytest.mark.parametrize("variant", VARIANTS, ids=" ".join)
def test_a_file_compiles_without_a_warning(variant: tuple[str, ...]) -> None:
    compiler = _compiler()
    if compiler is None:
        pytest.skip("no C compiler")
    path, processor, *definitions = variant
    flags = ["-fsyntax-only", f"-march={processor}", "-fopenmp", "-Wall", "-Wextra", "-Werror", *definitions]
    done = subprocess.run(
        [*compiler, *flags, str(ROOT / path)], capture_output=True, text=True, timeout=60, check=False
    )
    if "-march=" in done.stderr:
        pytest.skip(f"a compiler that doesn't know {processor}")
    assert done.returncode == 0, done.stderr


def test_no_file_is_left_out() -> None:
    found = {
        path.relative_to(ROOT).as_posix() for room in ("model", "data_loader") for path in (ROOT / room).rglob("*.c")
    }
    assert found == {path for path, *_ in VARIANTS}
