"""Mistakes of the user: one line each, exit code 2, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from utils.errors import ConfigError, Problem, RunError, UserError, nearest, run_main


@pytest.mark.parametrize(
    ("name", "choices", "hint"),
    [
        ("momentun", ["lr", "momentum"], "; did you mean 'momentum'?"),
        ("sgd", ["Adam", "SGD"], "; did you mean 'SGD'?"),
        ("Adamw", ["Adam", "AdamW", "SGD"], "; did you mean 'AdamW'?"),
        ("zzz", ["lr", "momentum"], ""),
        ("lr", [], ""),
    ],
)
def test_nearest_finds_what_was_meant(name: str, choices: list[str], hint: str) -> None:
    assert nearest(name, choices) == hint


def test_a_config_error_holds_every_problem() -> None:
    error = ConfigError(Problem(path, "wrong") for path in ("a", "b.c"))
    assert error.problems == [("a", "wrong"), ("b.c", "wrong")]
    assert str(error) == "a: wrong\nb.c: wrong"


def test_run_main_prints_a_line_a_problem_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> NoReturn:
        raise ConfigError([Problem("a", "wrong"), Problem("b", "missing")])

    with pytest.raises(SystemExit) as exit_info:
        run_main(main)
    printed = capsys.readouterr()
    assert exit_info.value.code == 2
    assert printed.err == "error: a: wrong\nerror: b: missing\n"
    assert printed.out == ""


def test_a_line_break_in_a_name_is_no_further_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> NoReturn:
        raise ConfigError([Problem("a\nb", "wrong: 'τ\u2028\t'"), Problem("c", "missing")])

    with pytest.raises(SystemExit):
        run_main(main)
    assert capsys.readouterr().err == "error: a\\nb: wrong: 'τ\\u2028\\t'\nerror: c: missing\n"


def test_a_line_of_thousands_of_letters_is_cut_in_its_middle(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> NoReturn:
        raise UserError(f"begin {'x' * 5000} end")

    with pytest.raises(SystemExit):
        run_main(main)
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) == 2000
    assert line.startswith("error: begin xxx")
    assert line.endswith("xxx end")
    assert " … " in line


def test_a_run_that_cannot_go_on_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> NoReturn:
        raise RunError("the loss is not finite at epoch 3, step 5")

    with pytest.raises(SystemExit) as exit_info:
        run_main(main)
    assert exit_info.value.code == 1
    assert capsys.readouterr().err == "error: the loss is not finite at epoch 3, step 5\n"


def test_run_main_returns_when_all_is_well_and_lets_bugs_through() -> None:
    done = []
    run_main(lambda: done.append(1))
    assert done == [1]

    def main() -> NoReturn:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_main(main)
    assert issubclass(ConfigError, UserError)


# -- an output that nobody reads --------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]


SCRIPT = "import sys\nfrom utils.errors import RunError, run_main\ndef main():\n    {body}\nrun_main(main)\n"


def ended(body: str, *, into: str = "closed pipe", unbuffered: bool = False) -> tuple[int, str]:
    """Exit code and standard error of a script whose `main` has this body, where its output can't be written."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe, open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, *(["-u"] if unbuffered else []), "-c", SCRIPT.format(body=body)],
            stdout=pipe if into == "closed pipe" else full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            check=False,
        )
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("body", ["print('a table')", "print('a table' * 10**6)", "print('help'); sys.exit(0)"])
def test_a_reader_that_has_gone_away_ends_a_script_quietly(body: str, unbuffered: bool) -> None:
    assert ended(body, unbuffered=unbuffered) == (141, "")


def test_an_error_is_told_whether_or_not_the_output_is_read() -> None:
    assert ended("print('a table'); raise RunError('it broke')") == (1, "error: it broke\n")


def test_another_pipe_that_breaks_is_no_lack_of_readers() -> None:
    code, told = ended("raise BrokenPipeError('a worker')", into="/dev/full")
    assert code == 1
    assert told.endswith("BrokenPipeError: a worker\n")


def test_another_file_that_can_not_be_written_is_not_the_output() -> None:
    code, told = ended("raise OSError(28, 'another file')")
    assert code == 1
    assert told.endswith("OSError: [Errno 28] another file\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("body", ["print('a table')", "print('a table' * 10**6)", "print('help'); sys.exit(0)"])
def test_an_output_that_can_not_be_written_is_one_line(body: str, unbuffered: bool) -> None:
    told = (1, "error: standard output: can't be written: No space left on device\n")
    assert ended(body, into="/dev/full", unbuffered=unbuffered) == told


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_the_terminal_has_not_are_written_out(encoding: str) -> None:
    """Of a name that is no text in any encoding, too."""
    body = "print('τ – caf\\udce9'); raise RunError('τ')"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=body)],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=False,
    )
    shown = "τ – caf\udce9\n".encode(encoding, "backslashreplace")
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (
        1,
        shown,
        ["error: τ".encode(encoding, "backslashreplace")],
    )
