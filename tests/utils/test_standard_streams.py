"""Scripts end in an orderly way whatever their standard streams are: closed, or of a terminal with few letters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPENS_FILES = """
import os, sys
from utils.errors import UserError, run_main
def main():
    files = [open("written.txt", "w"), open("again.txt", "w")]
    print("a table", flush=True)
    print("a warning", file=sys.stderr, flush=True)
    os.system("echo of a library; echo of a library >&2")
    for file in files:
        print("content", file=file, flush=True)
    {end}
run_main(main)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("end", "code"), [("pass", 0), ("raise UserError('wrong')", 2), ("1 / 0", 1)])
def test_closed_streams_take_nothing_from_the_files_of_a_run(tmp_path: Path, closed: str, end: str, code: int) -> None:
    (tmp_path / "script.py").write_text(OPENS_FILES.format(end=end))
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" script.py {closed}'],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    assert {path.read_text() for path in tmp_path.glob("*.txt")} == {"content\n"}
    assert done.stdout == ("" if ">&-" in closed.replace("2>&-", "") else "a table\nof a library\n")
    if end != "1 / 0":
        told = "error: wrong\n" if code else ""
        assert done.stderr == ("" if "2>&-" in closed else f"a warning\nof a library\n{told}")


@pytest.mark.parametrize("script", ["train.py", "test.py", "test_all_cifar.py"])
def test_a_terminal_of_few_letters_gets_the_rest_as_escapes(script: str) -> None:
    done = subprocess.run(
        [sys.executable, script, "--help"],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    said = done.stdout.decode("ascii").encode().decode("unicode_escape")
    assert ("τ" if script == "train.py" else "π_test") in said
