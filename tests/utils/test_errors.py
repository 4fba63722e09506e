"""Mistakes of the user: one line each, exit code 2, no traceback."""

from __future__ import annotations

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
