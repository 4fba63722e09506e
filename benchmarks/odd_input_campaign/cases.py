"""A case: a command on odd input, and whether the documentation allows that input; and how its outcome is judged."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FAULTS = ("traceback", "hang", "illegal accepted", "legal refused", "untidy")
_LONGEST_LINE = 2100  # 2,000, with escapes where a terminal has no UTF-8


@dataclass(frozen=True, kw_only=True)
class Case:
    """One command and what must come of it.

    Args:
        what: was done to the input, in a few words.
        legal: whether the documentation allows it; None: it doesn't say, so that it may be taken or refused.
        command: one of `commands.COMMANDS`.
        flags: of the command, in the case's folder.
        refusals: exit codes of a refusal.
        absent: patterns of files that must not be there afterwards.
        json_files: files that must hold JSON afterwards.
        says: a text that standard output or the error output must have.
    """

    what: str
    legal: bool | None
    command: str
    flags: list[str] = field(default_factory=list)
    refusals: tuple[int, ...] = (2,)
    absent: tuple[str, ...] = ()
    json_files: tuple[str, ...] = ()
    says: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a case's process did; `code` is None where it was killed for taking too long."""

    code: int | None
    seconds: float
    stdout: str
    stderr: str


def fault_of(case: Case, outcome: Outcome, folder: Path) -> str:
    """One of `FAULTS`, with what is wrong behind a colon; empty where all is right."""
    code, texts = outcome.code, outcome.stderr + outcome.stdout
    left = [str(path) for pattern in case.absent for path in folder.glob(pattern)]
    faults = {
        "hang": code is None,
        f"traceback: exit code {code}": (code or 0) < 0 or "Traceback (most recent call last)" in texts,
        f"legal refused: exit code {code}": case.legal and code != 0,
        f"illegal accepted: exit code {code}": case.legal is False and code not in case.refusals,
        f"untidy: exit code {code}": code not in (0, *case.refusals),
        f"illegal accepted: there is {''.join(left[:1])}": bool(left),
    }
    return next((fault for fault, is_so in faults.items() if is_so), "") or _untidiness(case, outcome, folder)


def _untidiness(case: Case, outcome: Outcome, folder: Path) -> str:
    lines = [line for line in outcome.stderr.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("error: ")]
    if outcome.code == 2 and not told:
        return "untidy: no line says what is wrong"
    if told and lines[-len(told) :] != told:
        return "untidy: a line of its own for a part of what is wrong"
    if any(len(line) > _LONGEST_LINE for line in told):
        return "untidy: a line of more than 2,100 characters"
    if case.says and case.says not in outcome.stdout + outcome.stderr:
        return f"untidy: nothing says {case.says!r}"
    for name in case.json_files:
        try:
            json.loads((folder / name).read_text(encoding="utf8"), parse_constant=_no_json)
        except (OSError, ValueError) as error:
            return f"untidy: {name} is no JSON afterwards: {error}"
    return ""


def _no_json(token: str) -> Any:
    raise ValueError(f"{token} is no JSON")


def kind_of_fault(fault: str) -> str:
    """The fault without what is behind its colon."""
    return re.split(":", fault, maxsplit=1)[0]
