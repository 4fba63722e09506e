"""Mistakes on a command line are one line each, with a hint where there is one."""

from __future__ import annotations

import pytest

from utils.config.command_line import OneLineParser, positive_integer, positive_number


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    parser = OneLineParser(prog="tool", allow_abbrev=False)
    parser.add_argument("-c")
    parser.add_argument("-r")
    parser.add_argument("--seed")
    parser.add_argument("--images", type=positive_integer)
    parser.add_argument("--rate", type=positive_number)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--sed", "1"), "unrecognized arguments: --sed 1; did you mean '--seed'?"),
        (("--sed=1",), "unrecognized arguments: --sed=1; did you mean '--seed'?"),
        (("--seed", "1", "--other"), "unrecognized arguments: --other"),
        (("stray",), "unrecognized arguments: stray"),
        (("a.json",), "unrecognized arguments: a.json; did you mean '-c a.json'?"),
        (("--seed", "1", "b/c.pth"), "unrecognized arguments: b/c.pth; did you mean '-r b/c.pth'?"),
        (("--images", "0"), "argument --images: expected a whole number of 1 or more; got '0'"),
        (("--images", "1.5"), "argument --images: expected a whole number of 1 or more; got '1.5'"),
        (("--rate", "inf"), "argument --rate: expected a number above 0; got 'inf'"),
        (("--rate", "fast"), "argument --rate: expected a number above 0; got 'fast'"),
    ],
)
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str) -> None:
    assert refusal(capsys, *arguments) == f"error: {told} (see tool --help)\n"


def test_good_values_are_read() -> None:
    assert (positive_integer("3"), positive_number("0.5")) == (3, 0.5)
