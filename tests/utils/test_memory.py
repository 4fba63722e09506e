"""A lack of memory is recognised in whatever way it is told, and nothing else is taken for one."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch

from utils.errors import run_main
from utils.memory import lack_of_memory


def lack_in_numpy() -> Exception:
    with pytest.raises(MemoryError) as caught:
        np.empty(2**60, np.uint8)
    return caught.value


def lack_in_torch() -> Exception:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


LACKS = [
    MemoryError(),
    lack_in_numpy(),
    lack_in_torch(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("could not create a primitive"),
    RuntimeError("could not create a memory object"),
    RuntimeError("could not create a memory"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("unable to mmap 64 bytes from file </torch_1>: Cannot allocate memory (12)"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
OTHERS = [
    RuntimeError("could not create a primitive descriptor for a convolution forward propagation primitive"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ImportError("libcuda.so: cannot open shared object file"),
    ValueError("DefaultCPUAllocator"),
    OSError(errno.ENOSPC, "No space left on device"),
]


@pytest.mark.parametrize("error", LACKS, ids=lambda error: f"{type(error).__name__} {error}"[:40])
def test_a_script_that_lacks_memory_ends_in_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_main(main)
    assert ended.value.code == 1
    said = (str(error) or "MemoryError").splitlines()[0]
    assert capsys.readouterr().err == f"error: out of memory ({said})\n"


@pytest.mark.parametrize("error", OTHERS, ids=lambda error: str(error)[:40])
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert lack_of_memory(error) == ""

    def main() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run_main(main)
    assert caught.value is error
