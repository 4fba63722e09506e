"""C functions, compiled where there is a compiler, once for each processor and version of the source.

The file that comes of it lies in the user's cache folder. What is compiled is linked to no library: what it needs of
OpenMP is PyTorch's own, so that both use the same threads. Whoever calls has another way where there is no compiler,
and where what it made computes something else.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from utils.files.cache_folder import cached_file, write_cached

if TYPE_CHECKING:
    from torch import Tensor

_FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fopenmp", "-fPIC")
_COMPILERS = ("cc", "gcc", "clang")
_P = ParamSpec("_P")
_Load = Callable[_P, ctypes.CDLL | None]
_NUMBERS = (int, float, type(None))
_LONGEST = 120.0  # seconds for a compiler
_logger = logging.getLogger(__name__)


def load_c(source: Path, *definitions: str) -> ctypes.CDLL | None:
    """The functions of a C file; None where they can't be had: no compiler, or what it makes can't be loaded.

    The compiler is the one that the environment variable CC names, else cc, gcc or clang. `CC=none` is no compiler.

    Args:
        source: the file.
        definitions: of macros: "NAME" or "NAME=VALUE".
    """
    compiler = _compiler()
    if compiler is None:
        return None
    flags = (*_FLAGS, *(f"-D{definition}" for definition in definitions))
    try:
        key = _key(compiler, source, flags)
        cached = cached_file(f"{source.stem}-{key}.so")
        if cached is None or not cached.is_file():
            return _compile(compiler, flags, source, cached)
        return ctypes.CDLL(str(cached), mode=os.RTLD_NOW)
    except (OSError, subprocess.SubprocessError) as error:
        _logger.debug("%s isn't used: %s", source.name, error)
        return None


def tried(is_right: Callable[Concatenate[ctypes.CDLL, _P], bool]) -> Callable[[_Load[_P]], _Load[_P]]:
    """Decorates a function that loads functions in C: None also where they are wrong. Loaded and tried once a process.

    Args:
        is_right: whether the functions compute what they should; given them and what they are loaded for.
    """

    def decorate(load: _Load[_P]) -> _Load[_P]:
        @cache
        @wraps(load)
        def load_and_try(*args: _P.args, **kwargs: _P.kwargs) -> ctypes.CDLL | None:
            functions = load(*args, **kwargs)
            return functions if functions is not None and is_right(functions, *args, **kwargs) else None

        return load_and_try

    return decorate


def call(functions: ctypes.CDLL, name: str, *arguments: Tensor | float | None) -> int:
    """A function's answer, given tensors (None: there is none), whole numbers (long) and others (double).

    Which argument is of which kind, its first call says for all.
    """
    function = getattr(functions, name)
    if function.argtypes is None:
        function.argtypes = [_c_type(value) for value in arguments]
    answer: int = function(*[value if isinstance(value, _NUMBERS) else value.data_ptr() for value in arguments])
    return answer


def _c_type(value: Tensor | float | None) -> Any:
    if isinstance(value, int):
        return ctypes.c_long
    return ctypes.c_double if isinstance(value, float) else ctypes.c_void_p


def _compiler() -> list[str] | None:
    """Its command."""
    named = os.environ.get("CC")
    for name in [named] if named else _COMPILERS:
        command = shlex.split(name)
        if command and shutil.which(command[0]):
            return command
    return None


def _key(compiler: list[str], source: Path, flags: Sequence[str]) -> str:
    """Of what the compiled file depends on: source and the headers beside it, compiler, flags, processor."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=True, timeout=_LONGEST).stdout
    headers = [path.read_bytes() for path in sorted(source.parent.glob("*.h"))]
    parts = [
        source.read_bytes(),
        *headers,
        version,
        " ".join(flags).encode(),
        platform.machine().encode(),
        _processor(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]


def _processor() -> bytes:
    """The units of this processor, as Linux tells them."""
    lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    return next((line for line in lines if line.startswith((b"flags", b"Features"))), b"")


def _compile(compiler: list[str], flags: Sequence[str], source: Path, cached: Path | None) -> ctypes.CDLL:
    """Compile and load, and keep the file where there is a place for it that can be written to."""
    with tempfile.TemporaryDirectory() as folder:
        compiled, library = Path(folder, "compiled.o"), Path(folder, "compiled.so")
        # in two steps: linked with -fopenmp, it would bring threads of its own
        for arguments in ([*flags, "-c", str(source), "-o", str(compiled)], ["-shared", compiled, "-o", library]):
            subprocess.run([*compiler, *arguments], capture_output=True, check=True, timeout=_LONGEST)
        functions = ctypes.CDLL(str(library), mode=os.RTLD_NOW)
        if cached is not None:
            write_cached(cached, library.read_bytes())
        return functions
