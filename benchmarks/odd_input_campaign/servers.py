"""Servers that fork a process for each case: PyTorch is imported once, and each case begins as the last one did."""

from __future__ import annotations

import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.odd_input_campaign.cases import Case, Outcome, fault_of
from benchmarks.odd_input_campaign.commands import run

Generator = Callable[[random.Random, Path], Case]
"""Writes a case's files into an empty folder and says what is to be run there."""

_MOST_MEMORY = 6 * 2**30
_PREPARATION_SECONDS = 120.0
_SHOWN = 4000  # characters of each output that the report keeps


def run_case(generator: Generator, seed: str, *, seconds: float, keep: bool = False) -> dict[str, Any]:
    """Run one case in a process and a folder of its own; what it was, what it did and what is wrong with that.

    Args:
        generator: of its kind.
        seed: which case.
        seconds: it may take; what takes longer hangs.
        keep: leave its folder where it is, and print its name.
    """
    place = Path(tempfile.mkdtemp(prefix="odd-input-"))
    folder = place / "case"
    folder.mkdir()
    process = os.fork()
    if not process:
        _be_the_case(generator, seed, place)
    outcome = _wait(process, place, seconds)
    try:
        case = Case(**_read_case(place))
    except FileNotFoundError:
        raise RuntimeError(f"{seed}: the case could not be made:\n{outcome.stderr}") from None
    fault = fault_of(case, outcome, folder)
    if keep:
        print(f"folder: {folder}")
    else:
        shutil.rmtree(place, ignore_errors=True)
    return {
        **asdict(case),
        "flags": [flag if len(flag) < 200 else f"{flag[:200]}…" for flag in case.flags],
        "fault": fault,
        "code": outcome.code,
        "seconds": round(outcome.seconds, 2),
        "stderr": outcome.stderr[-_SHOWN:],
        "stdout": outcome.stdout[-_SHOWN:] if fault else "",
    }


def serve(generator: Generator, seeds: Iterable[tuple[int, str]], answers: Path, *, seconds: float) -> NoReturn:
    """In a process of its own: run cases one after the other; a line of JSON each, index and what `run_case` says."""
    code = 1
    try:
        with answers.open("w", encoding="utf8", buffering=1) as file:
            for index, seed in seeds:
                file.write(json.dumps({"index": index, **run_case(generator, seed, seconds=seconds)}) + "\n")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _be_the_case(generator: Generator, seed: str, place: Path) -> NoReturn:
    """In the child: make the case, say what it is, run it."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    folder = place / "case"
    os.chdir(folder)
    code = 1
    try:
        random_ = random.Random(seed)
        case = generator(random_, folder)
        _set_up_outputs(random_)
        (place / "case.tmp").write_text(json.dumps(asdict(case)))
        (place / "case.tmp").rename(place / "case.json")
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
        run(case.command, case.flags)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        _flush_and_exit(code)


def _set_up_outputs(random_: random.Random) -> None:
    """As in a terminal of UTF-8, or, in one case of five, of ASCII."""
    encoding = "ascii" if random_.random() < 0.2 else "utf-8"
    for stream, errors in ((sys.stdout, "strict"), (sys.stderr, "backslashreplace")):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(encoding=encoding, errors=errors)


def _flush_and_exit(code: int) -> NoReturn:
    """End as Python does, with the outputs written and threads not waited for."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _wait(process: int, place: Path, seconds: float) -> Outcome:
    """Wait for a case's end; its processes are killed when it takes too long, its preparation not counted."""
    forked = time.monotonic()
    begin, code, killed = None, 0, False
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        now = time.monotonic()
        if ended:
            code = os.waitstatus_to_exitcode(status)
            break
        if begin is None and (place / "case.json").exists():
            begin = now
        if not killed and now - (begin or forked) > (seconds if begin else _PREPARATION_SECONDS):
            killed = True
            os.killpg(process, signal.SIGKILL)
        time.sleep(0.003)
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # whatever it has left running
    texts = [(place / name).read_bytes().decode(errors="replace") for name in ("stdout", "stderr")]
    return Outcome(code=None if killed else code, seconds=now - (begin or forked), stdout=texts[0], stderr=texts[1])


def _read_case(place: Path) -> dict[str, Any]:
    content = json.loads((place / "case.json").read_text())
    return {
        name: tuple(value) if name in ("refusals", "absent", "json_files") else value for name, value in content.items()
    }
