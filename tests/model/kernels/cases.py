"""What tests of kernels share: random images, and a source file with a mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.kernels import kernels


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random images in channels-last memory."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return values.contiguous(memory_format=torch.channels_last)


@contextmanager
def mistaken(
    name: str, right: str, wrong: str, load: Callable[..., object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Kernels come from `folder`, where `name`.c has a mistake; `load`, which is cached, has loaded none yet."""
    source = (kernels._FOLDER / f"{name}.c").read_text()
    assert right in source
    (folder / f"{name}.c").write_text(source.replace(right, wrong))
    for header in kernels._FOLDER.glob("*.h"):
        (folder / header.name).write_text(header.read_text())
    monkeypatch.setattr(kernels, "_FOLDER", folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    load.cache_clear()  # type: ignore[attr-defined]
    try:
        yield
        assert list(folder.glob("balpoe/*.so")), "it has been compiled"
    finally:
        load.cache_clear()  # type: ignore[attr-defined]
