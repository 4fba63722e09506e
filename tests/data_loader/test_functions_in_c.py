"""Functions in C that compute something else than PyTorch are not used: a compiler may be wrong, too."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from data_loader.transforms import colour, planes


@pytest.mark.parametrize(
    ("module", "right", "wrong"),
    [(colour, "0.587f", "0.578f"), (planes, "3 * at + 2", "3 * at + 1")],
    ids=["colour", "planes"],
)
def test_functions_that_are_wrong_are_not_used(
    module: ModuleType, right: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if module._functions() is None:
        pytest.skip("no C compiler")
    source = Path(str(module.__file__)).with_suffix(".c")
    (tmp_path / source.name).write_text(source.read_text().replace(right, wrong))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "__file__", str(tmp_path / f"{source.stem}.py"))
    module._functions.cache_clear()
    try:
        assert module._functions() is None
    finally:
        module._functions.cache_clear()
