"""Gets the published list files, from the network or a local clone; keeps nothing whose hash is wrong."""

from __future__ import annotations

import zipfile
import zlib
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from data_loader.lists.manifest import PublishedFile, git_blob_sha1
from utils.errors import UserError
from utils.files.reading import read_regular_file
from utils.files.writing import write_bytes
from utils.reporting.progress import progress_bar

_CHUNK = 1 << 16  # bytes
_TIMEOUT = 30  # seconds without an answer
_RANGE_NOT_SATISFIABLE, _PARTIAL_CONTENT = 416, 206


def fetch(file: PublishedFile, folder: Path, *, source: str | Path, force: bool = False) -> bool:
    """Put a published file into its place below `folder`, and unpack it if it is an archive.

    Args:
        file: which one.
        folder: stands for `data_txt`.
        source: address that the file's path is appended to, or the folder of a clone.
        force: replace a file of the same name whose content differs.

    Returns:
        Whether there was something to do; false if the right file is there already.

    Raises:
        UserError: it can't be got, its hash is wrong, or another file is in its place.
    """
    target = file.below(folder)
    there = target.is_file() and git_blob_sha1(target.read_bytes()) == file.git_blob_sha1
    if not there:
        if target.exists() and not force:
            raise UserError(f"{target}: is there with other content than the published one; --force replaces it")
        _get(file, target, source)
    unpacked = file.holds is not None and (_unpack_problem(target, file.holds) != "")
    if unpacked:
        _unpack(target, str(file.holds))
    return unpacked or not there


def problem_of(file: PublishedFile, folder: Path) -> str:
    """What is wrong with a file below `folder`: "missing", "differs", something about its archive; else ""."""
    target = file.below(folder)
    if not target.is_file():
        return "missing"
    if git_blob_sha1(target.read_bytes()) != file.git_blob_sha1:
        return "differs"
    return _unpack_problem(target, file.holds) if file.holds else ""


def _get(file: PublishedFile, target: Path, source: str | Path) -> None:
    """Read or download the content, compare its hash, write it to its place."""
    if isinstance(source, Path):
        origin = str(source / file.path)
        content = read_regular_file(source / file.path, "file (--clone)")
    else:
        origin, part = f"{source.rstrip('/')}/{file.path}", target.with_name(f"{target.name}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        _download(origin, part)
        content = part.read_bytes()
        part.unlink()
    sha1 = git_blob_sha1(content)
    if sha1 != file.git_blob_sha1:
        raise UserError(
            f"{origin}: refused, nothing kept: its git blob hash is {sha1}, the published file's {file.git_blob_sha1}"
        )
    write_bytes(target, content)


def _download(url: str, part: Path) -> None:
    """Fill `part` with what stands at `url`, going on where an earlier attempt has stopped."""
    while True:
        have = part.stat().st_size if part.exists() else 0
        request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with urlopen(request, timeout=_TIMEOUT) as response:
                total = _receive(response, part, have)
            reason = "the connection was cut"
        except HTTPError as error:
            error.close()
            if error.code != _RANGE_NOT_SATISFIABLE or not have:
                raise UserError(f"{url}: the server answers {error.code} {error.reason}") from None
            part.unlink()  # longer than the file: not its beginning
            continue
        except (URLError, HTTPException, OSError) as error:
            total, reason = None, str(getattr(error, "reason", "") or error or type(error).__name__)
        now = part.stat().st_size if part.exists() else 0
        if total is not None and now >= total:
            return
        if now <= have:  # no byte has come: it is of no use to go on
            hint = "; what has arrived is kept, the next call goes on from there" if now else ""
            raise UserError(f"{url}: can't be fetched ({reason}){hint}")


def _receive(response: HTTPResponse, part: Path, have: int) -> int:
    """Append a response to `part`, or begin it anew where the server sends the whole; returns the size promised."""
    if response.status != _PARTIAL_CONTENT:
        have = 0
    promised = response.headers.get("Content-Length")
    with part.open("ab" if have else "wb") as file, progress_bar(part.stem, int(promised or 0), unit="B") as bar:
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
        size = file.tell()
    return size if promised is None else have + int(promised)


def _unpack_problem(archive: Path, member: str) -> str:
    """Why the list beside its archive isn't what the archive holds; "" if it is."""
    unpacked = archive.with_name(member)
    if not unpacked.is_file():
        return f"{member} isn't unpacked"
    with zipfile.ZipFile(archive) as content:
        entry = _entry(content, member)
        return "" if zlib.crc32(unpacked.read_bytes()) == entry.CRC else f"{member} differs from what is packed"


def _unpack(archive: Path, member: str) -> None:
    with zipfile.ZipFile(archive) as content:
        write_bytes(archive.with_name(member), content.read(_entry(content, member)))


def _entry(content: zipfile.ZipFile, member: str) -> zipfile.ZipInfo:
    """The archive's entry of this file name, in whatever folder."""
    for entry in content.infolist():
        if entry.filename.rsplit("/", 1)[-1] == member:
            return entry
    raise UserError(f"{content.filename}: holds no {member}")
