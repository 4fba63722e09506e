"""What stands in a file's place and is none: nobody may wait for any of these."""

from __future__ import annotations

import os
import socket
from pathlib import Path

ODD_KINDS = {
    "pipe": "it is a pipe",
    "socket": "it is a socket",
    "folder": "it is a folder",
    "loop": "a symbolic link that leads back to itself",
    "dangling": "a symbolic link to a file that isn't there",
    "device": "it is a device",
}
"""Kind → what a refusal says of it."""


def put_odd(path: Path, kind: str) -> None:
    """Put something of a kind where a file is expected."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        _bind_socket(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        beside = path.with_name(f"{path.name}.other")
        path.symlink_to(beside)
        beside.symlink_to(path)
    elif kind == "dangling":
        path.symlink_to(path.with_name("nothing"))
    elif kind == "device":
        path.symlink_to("/dev/zero")


def _bind_socket(path: Path) -> None:
    """A socket's name may have a hundred letters at most: it is bound from within its folder."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)
