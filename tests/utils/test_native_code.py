"""C functions: compiled once, kept, loaded, tried; nothing where there is no compiler."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from utils import native_code
from utils.native_code import load_c, tried


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder is an empty one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file with one function."""
    path = tmp_path / "twice.c"
    path.write_text("long twice(long a) { return 2 * a; }\n")
    return path


needs_compiler = pytest.mark.skipif(native_code._compiler() is None, reason="no C compiler")


@needs_compiler
def test_it_is_compiled_once_and_kept(source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_c(source)
    assert first is not None
    assert first.twice(21) == 42
    (kept,) = (cache / "balpoe").iterdir()
    monkeypatch.setattr(native_code, "_compile", lambda *_: pytest.fail("compiled again"))
    second = load_c(source)
    assert second is not None
    assert second.twice(4) == 8
    assert [kept] == list((cache / "balpoe").iterdir())


@needs_compiler
def test_another_source_is_compiled_anew(source: Path, cache: Path) -> None:
    load_c(source)
    source.write_text("long twice(long a) { return a + a + 1; }\n")
    changed = load_c(source)
    assert changed is not None
    assert changed.twice(1) == 3
    assert len(list((cache / "balpoe").iterdir())) == 2


@needs_compiler
def test_with_another_header_beside_it_a_source_is_compiled_anew(source: Path) -> None:
    header = source.with_name("factor.h")
    source.write_text('#include "factor.h"\nlong factor(void) { return FACTOR; }\n')
    found = []
    for factor in (3, 5):
        header.write_text(f"#define FACTOR {factor}\n")
        found.append(load_c(source))
    assert [functions and functions.factor() for functions in found] == [3, 5]


@needs_compiler
def test_a_macro_is_part_of_what_is_compiled(source: Path, cache: Path) -> None:
    source.write_text("long factor(void) { return FACTOR; }\n")
    found = [load_c(source, f"FACTOR={factor}") for factor in (3, 5)]
    assert [functions and functions.factor() for functions in found] == [3, 5]
    assert load_c(source) is None
    assert len(list((cache / "balpoe").iterdir())) == 2


@needs_compiler
def test_without_a_home_folder_it_is_used_and_not_kept(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user is a number that the system has no name for."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    functions = load_c(source)
    assert functions is not None
    assert functions.twice(5) == 10


@needs_compiler
def test_where_it_cant_be_kept_it_is_used_all_the_same(source: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    functions = load_c(source)
    assert functions is not None
    assert functions.twice(5) == 10


@needs_compiler
@pytest.mark.parametrize("content", ["this is no C", "long missing(void); long twice(long a) { return missing(); }"])
def test_what_cant_be_compiled_or_loaded_is_none(source: Path, cache: Path, content: str) -> None:
    source.write_text(content)
    assert load_c(source) is None
    assert not cache.exists()


@needs_compiler
def test_a_damaged_file_in_the_cache_is_none_and_no_crash(source: Path, cache: Path) -> None:
    key = native_code._key(native_code._compiler() or [], source, native_code._FLAGS)
    (cache / "balpoe").mkdir(parents=True)
    (cache / "balpoe" / f"twice-{key}.so").write_bytes(b"half a file")
    assert load_c(source) is None


@pytest.mark.parametrize("named", ["none", "/no/such/compiler -O2"])
def test_without_a_compiler_there_is_none(source: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("CC", named)
    assert load_c(source) is None


def test_a_compiler_that_fails_is_none(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    assert load_c(source) is None


@needs_compiler
def test_functions_are_loaded_and_tried_once_for_each_that_is_asked_for(source: Path) -> None:
    tries = []

    def doubles(functions: ctypes.CDLL, number: int) -> bool:
        tries.append(number)
        return functions.twice(number) == 6

    @tried(doubles)
    def functions(number: int) -> ctypes.CDLL | None:
        return load_c(source)

    assert functions(3) is functions(3) is not None
    assert functions(4) is functions(4) is None
    assert tries == [3, 4]


def test_what_cant_be_had_is_not_tried() -> None:
    @tried(lambda _: pytest.fail("nothing to try"))
    def functions() -> ctypes.CDLL | None:
        return None

    assert functions() is None
