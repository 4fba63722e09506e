"""Windows and macOS: nothing is imported that only some systems have, and what is missing there is not needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("base", "data_loader", "model", "tools", "trainer", "utils")
POSIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_ATTRIBUTES = {
    ("os", name) for name in ("fork", "getuid", "getpgid", "killpg", "register_at_fork", "sched_getaffinity", "statvfs")
} | {("signal", name) for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGCHLD", "SIGALRM", "pause", "setitimer")}

WITHOUT = """
import select, signal, sys
for module, names in {
    signal: ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGCHLD", "SIGALRM"), select: ("poll",),
}.items():
    for name in names:
        delattr(module, name)
for name in ("resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
sys.argv = ["train.py", *sys.argv[1:]]
import train
from utils.errors import run_main
run_main(train.main)
"""


def sources() -> list[Path]:
    return sorted([*ROOT.glob("*.py"), *(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))])


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_named_that_only_some_systems_have(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert POSIX_ONLY.isdisjoint(name.partition(".")[0] for name in modules)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in POSIX_ATTRIBUTES


def test_training_needs_nothing_that_only_some_systems_have(tmp_path: Path) -> None:
    flags = ("--epochs", "1", "--set", "data_loader.args.max_per_class=6", "--save_dir", str(tmp_path))
    config = "configs/digits/config_digits_ir40_ce.json"
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, "-c", config, *flags], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Run saved to" in ended.stdout
    assert list(tmp_path.glob("models/*/*/checkpoint-epoch1.pth"))
