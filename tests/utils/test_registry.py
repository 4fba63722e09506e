"""Registries by files: what the modules of a package list, each name once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from utils.registry import collect

Package = Callable[..., tuple[str, list[str]]]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """`package(module="source", …)`: one that can be imported."""
    before = set(sys.modules)

    def write(**sources: str) -> tuple[str, list[str]]:
        folder = tmp_path / f"registered_{tmp_path.name}".replace("-", "_")
        folder.mkdir()
        for name, source in {"__init__": "", **sources}.items():
            (folder / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        return folder.name, [str(folder)]

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("registered_"):
            del sys.modules[name]


def test_entries_are_what_the_modules_list_in_the_order_of_the_files(package: Package) -> None:
    entries = collect(*package(b="__all__ = ['x']\nx = 1\ny = 2", a="__all__ = ['z']\nz = 3", c="unlisted = 4"))
    assert entries == {"z": 3, "x": 1}
    assert list(entries) == ["z", "x"]


def test_a_name_that_two_files_list_is_an_error_that_names_it(package: Package) -> None:
    with pytest.raises(ImportError, match="two of its files list 'x'"):
        collect(*package(a="__all__ = ['x']\nx = 1", b="__all__ = ['x']\nx = 1"))


def test_a_listed_name_that_does_not_exist_is_an_error(package: Package) -> None:
    with pytest.raises(AttributeError):
        collect(*package(a="__all__ = ['x']"))
