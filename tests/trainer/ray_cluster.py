"""A cluster of Ray in a network of its own: nobody else reaches it, and all of it ends with the test."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.scripts.command_line import ROOT

_ISOLATED = ["--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
_INIT = """
import fcntl, signal, socket, struct, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with socket.socket() as some:
    fcntl.ioctl(some, 0x8914, struct.pack("16sH14x", b"lo", 0x41))  # SIOCSIFFLAGS: up and running
print("up", flush=True)
sys.stdin.read()  # ends with the process that has started this one
"""
_QUICK = {  # a node that has died is noticed within three seconds, one on a machine with other work is no such node
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 10000,
    "health_check_failure_threshold": 3,
}
_ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}
LONGEST_WAIT = 240.0  # seconds, on a machine with much other work
HEAD, SECOND = "127.0.0.2", "127.0.0.3"
_PORT = 26379


class RayCluster:
    """Two nodes of a core each, a head and a second one; skips the test where there can be no such network."""

    def __init__(self) -> None:
        if not (shutil.which("unshare") and shutil.which("nsenter")):
            pytest.skip("needs unshare and nsenter (util-linux)")
        command = ["unshare", *_ISOLATED, sys.executable, "-I", "-S", "-c", _INIT]
        pipe = subprocess.PIPE
        self._network = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert self._network.stdout is not None and self._network.stderr is not None
        if self._network.stdout.readline() != "up\n":
            pytest.skip(f"no network of its own: {self._network.stderr.read().strip()}")
        self._folder = Path(tempfile.mkdtemp(prefix="ray"))  # short: the names of sockets are limited to 107 bytes
        try:
            quick = f"--system-config={json.dumps(_QUICK)}"
            self._start(HEAD, "--head", f"--port={_PORT}", "--include-dashboard=false", quick)
            self.start_second()
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End every process in it."""
        self._network.kill()
        self._network.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start_second(self) -> None:
        """Start the second node, where it isn't there."""
        if not self._raylet_of(SECOND):
            self._start(SECOND, f"--address={HEAD}:{_PORT}")

    def kill_second(self) -> None:
        """Kill the second node and its workers, as if its power had failed."""
        raylet = self._raylet_of(SECOND)
        for pid in [*raylet, *(child for one in raylet for child in children(one))]:
            os.kill(pid, signal.SIGKILL)

    def trained_on(self, address: str) -> dict[int, int]:
        """The processes that train on a node: process → the run's seed."""
        workers = [worker for one in self._raylet_of(address) for worker in children(one)]
        commands = {pid: command_of(pid) for worker in workers for pid in children(worker)}
        seeds = {pid: re.search(r"/train\.py -c \S*/seed=(\d+)-", command) for pid, command in commands.items()}
        return {pid: int(seed[1]) for pid, seed in seeds.items() if seed}

    def train(self, recipe: str, *flags: object) -> subprocess.Popen[str]:
        """Start train.py in the current folder, attached to the head."""
        address = f"address={HEAD}:{_PORT}"
        command = [ROOT / "train.py", "-c", recipe, "--launcher", "ray", "--launcher_option", address, *flags]
        return self._inside(Path.cwd(), [sys.executable, *map(str, command)])

    def interrupt(self, started: subprocess.Popen[str]) -> None:
        """Send a SIGINT to a command that `train` has started."""
        for pid in children(started.pid):
            os.kill(pid, signal.SIGINT)

    def _start(self, address: str, *flags: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *flags, f"--node-ip-address={address}"]
        command += ["--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats"]
        started = self._inside(Path("/"), [*command, f"--temp-dir={self._folder / address}"])
        _, told = started.communicate(timeout=LONGEST_WAIT)
        assert started.returncode == 0, told

    def _inside(self, folder: Path, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start a command within the network; by sh, since nsenter would enter the folder as it is seen outside."""
        (init,) = children(self._network.pid)
        entered = ["nsenter", f"--target={init}", "--user", "--net", "--pid", "--mount", "--preserve-credentials"]
        return subprocess.Popen(
            [*entered, "--", "sh", "-c", 'cd "$0" && exec "$@"', str(folder), *command],
            env={**os.environ, **_ENVIRONMENT},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _raylet_of(self, address: str) -> list[int]:
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        return [pid for pid in pids if f"/raylet --raylet_socket_name={self._folder / address}/" in command_of(pid)]


def command_of(pid: int) -> str:
    """A process's command, its arguments apart by blanks; "" where it has ended."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf8", "replace")
    except OSError:
        return ""


def children(pid: int) -> list[int]:
    """Those of a process's main thread and of all others."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in path.read_text().split()]
        except OSError:  # the thread has ended
            continue
    return found


def once(what: Callable[[], object], *, seconds: float = LONGEST_WAIT) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it has not come about"
        time.sleep(0.02)
