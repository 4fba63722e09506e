"""The plan of the house: imports run only one way, scripts are short, and the names that recipes use exist.

scripts and tools → trainer → {data_loader, model} → base → utils
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Literal, get_origin

import pytest

from trainer.config import components
from utils.config.components import Component

ROOT = Path(__file__).parents[1]

# what the modules of a room may import beside their own; a room that is not listed here may import none of them
ALLOWED: dict[str, set[str]] = {
    "utils": set(),
    "base": {"utils"},
    "data_loader": {"base", "utils"},
    "model": {"base", "utils"},
    "trainer": {"data_loader", "model", "base", "utils"},
    "tools": {"trainer", "data_loader", "model", "base", "utils", "scripts"},
    "scripts": {"trainer", "data_loader", "model", "base", "utils"},
}
ROOMS = [room for room in ALLOWED if room != "scripts"]
SCRIPTS = sorted(ROOT.glob("*.py"))
REGISTRIES = [  # packages that collect what their files list
    ".".join(path.relative_to(ROOT).parent.parts)
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("__init__.py"))
    if "collect(__name__" in path.read_text(encoding="utf8")
]
NAMED_BY_RECIPES = {
    name
    for component in vars(components).values()
    if isinstance(component, Component)
    for name in component.modules
    if isinstance(name, str) and name.partition(".")[0] in ROOMS
}
PUBLIC = sorted({"base", *REGISTRIES, *NAMED_BY_RECIPES})
LONGEST_SCRIPT = 100  # lines


def sources(room: str) -> list[Path]:
    return SCRIPTS if room == "scripts" else sorted((ROOT / room).rglob("*.py"))


def imported_rooms(source: str) -> set[str]:
    """The rooms that a module imports anywhere in it, in functions too; relative imports stay within the room."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    scripts = {path.stem for path in SCRIPTS} - {"test"}  # `test` is a package of Python's own, too
    return {"scripts" if name in scripts else name for name in found} & {*ALLOWED, "tests", "benchmarks"}


def test_the_reader_of_imports_sees_every_kind() -> None:
    source = "import trainer.build\nfrom model import loss\ndef f():\n    import base as b, os\nfrom . import train\n"
    assert imported_rooms(source) == {"trainer", "model", "base"}
    assert imported_rooms("from train import main") == {"scripts"}


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_run_only_to_the_right(room: str) -> None:
    paths = sources(room)
    assert paths, f"{room} has no source"
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in sorted(imported_rooms(path.read_text(encoding="utf8")) - ALLOWED[room] - {room})
    ]
    assert wrong == []


def test_data_and_model_do_not_know_each_other() -> None:
    assert "model" not in ALLOWED["data_loader"]
    assert "data_loader" not in ALLOWED["model"]


def test_every_room_that_holds_python_is_in_the_plan() -> None:
    found = {path.parent.name for path in ROOT.glob("*/*.py")} - {"tests", "benchmarks"}
    assert found == set(ROOMS)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_short_and_can_be_imported_without_running(path: Path) -> None:
    source = path.read_text(encoding="utf8")
    assert len(source.splitlines()) < LONGEST_SCRIPT
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.Assign, ast.AnnAssign, ast.Expr, ast.If)
    body = ast.parse(source).body
    assert all(isinstance(node, kinds) for node in body)
    assert ast.unparse(body[-1]).startswith("if __name__ == '__main__':")


def test_the_five_published_scripts_are_there() -> None:
    names = {path.name for path in SCRIPTS}
    assert {"train.py", "test.py", "test_all_cifar.py", "test_all_inat.py", "test_all_imagenet.py"} <= names


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_exists_once_and_with_a_description(name: str) -> None:
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        entry = getattr(module, public)
        is_alias = get_origin(entry) is Literal  # described below its definition: it has no docstring of its own
        assert is_alias or entry.__doc__, f"{name}.{public} has no description"


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_says_what_it_is_for(room: str) -> None:
    for path in sources(room):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf8"))), path
