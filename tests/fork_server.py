"""A process that has imported PyTorch and is asked for forks of it, each of which then runs a script.

It imports little, for what it imports its forks have imported, too.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TextIO

import torch  # noqa: F401 - for the forks


def be_server() -> NoReturn:
    """Answer requests from the standard input."""
    _serve(sys.stdin, os.fdopen(os.dup(1), "w"))


def _serve(requests: TextIO, replies: TextIO) -> NoReturn:
    """Answer requests until there are no more of them: here in the server, and in a fork run what was asked for."""
    gc.freeze()  # what has been imported stays: no fork needs to look for garbage there
    for line in requests:
        request = json.loads(line)
        if "of" in request:
            ended, status = os.waitpid(request["of"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        else:
            answer = os.fork()
            if not answer:
                replies.close()
                _run(**request)
                sys.exit()
        print(json.dumps(answer), file=replies, flush=True)
    sys.exit()


def _run(
    kind: str,
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
    streams: list[str],
    before: str,
    own_session: bool,
) -> None:
    if own_session:
        os.setsid()
    for stream, name in enumerate(streams):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    exec(before, {})
    sys.argv = arguments
    if kind == "program":
        exec(compile(arguments[0], "program", "exec"), {"__name__": "__main__"})
    elif kind == "module":
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


class Server:
    """The server as another process sees it: it ends when this one does.

    Args:
        requests: a pipe to it.
        replies: a pipe from it.
    """

    def __init__(self, requests: TextIO, replies: TextIO) -> None:
        self._requests, self._replies = requests, replies

    def ask(self, **request: Any) -> Any:
        print(json.dumps(request), file=self._requests, flush=True)
        return json.loads(self._replies.readline())


class Process:
    """A fork at work, with what `subprocess.Popen` has for a process.

    Args:
        server: makes it.
        kind: "script", "module", or "program" for Python's own lines.
        arguments: the script's file, the module's name or the lines, then what comes after it on the command line.
        folder: where it is started.
        environment: all its variables.
        streams: the files that are its standard input, output and error output.
        before: lines that are run first, such as for a limit that it is to have.
        own_session: whether signals can be sent to it and to all that it starts by `os.killpg`.
    """

    def __init__(
        self,
        server: Server,
        kind: str,
        arguments: Sequence[object],
        *,
        folder: Path,
        environment: Mapping[str, str],
        streams: Sequence[str],
        before: str = "",
        own_session: bool = False,
    ) -> None:
        self._server = server
        self.returncode: int | None = None
        self.pid: int = server.ask(
            kind=kind,
            arguments=[str(argument) for argument in arguments],
            folder=str(folder),
            environment=dict(environment),
            streams=list(streams),
            before=before,
            own_session=own_session,
        )

    def poll(self) -> int | None:
        """Its exit code, or None while it is at work."""
        if self.returncode is None:
            self.returncode = self._server.ask(of=self.pid)
        return self.returncode

    def wait(self, timeout: float = 180.0) -> int:
        """Its exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not ended in so many seconds.
        """
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def start_scripts_as_forks() -> None:
    """From now on the scripts that this process starts by `subprocess.Popen` are forks of what it is now."""
    (asked, requests), (replies, answered) = os.pipe(), os.pipe()
    if not os.fork():
        os.setsid()  # a signal to this process's group isn't for it
        os.close(requests)
        os.close(replies)
        _serve(os.fdopen(asked), os.fdopen(answered, "w"))
    os.close(asked)
    os.close(answered)
    _Scripts.server = Server(os.fdopen(requests, "w"), os.fdopen(replies))
    subprocess.Popen = _Scripts  # type: ignore[misc]


class _Scripts(subprocess.Popen):  # type: ignore[type-arg]
    """Starts Python scripts as forks of the server, and anything else as before."""

    server: ClassVar[Server]

    def __new__(cls, args: Sequence[str], **options: Any) -> Any:
        script = [argument for argument in args[1:] if argument != "-u"]
        if args[0] != sys.executable or script[0].startswith("-"):
            return super().__new__(cls)
        outputs = [options.get(name) or number for name, number in (("stdout", 1), ("stderr", 2))]
        numbers = [output if isinstance(output, int) else output.fileno() for output in outputs]
        return Process(
            cls.server,
            "script",
            script,
            folder=Path(options.get("cwd") or Path.cwd()),
            environment=options.get("env") or os.environ,
            streams=[os.devnull, *(os.readlink(f"/proc/self/fd/{number}") for number in numbers)],
            own_session=options.get("start_new_session", False),
        )
