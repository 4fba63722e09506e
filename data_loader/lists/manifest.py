"""The published list files: where each stands and what its content is, from `data_txt/manifest.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError, nearest

MANIFEST = Path(__file__).parents[2] / "data_txt" / "manifest.json"


@dataclass(frozen=True)
class PublishedFile:
    """One file of the manifest.

    Args:
        path: in its repository, `data_txt/<data set>/<name>`.
        folder_url: address of its repository's files at the commit.
        git_blob_sha1: hash of its content as git computes it.
        images: lines of the list.
        classes: distinct labels in it.
        holds: the list inside, where the file is a zip archive.
    """

    path: str
    folder_url: str
    git_blob_sha1: str
    images: int
    classes: int
    holds: str | None = None

    @property
    def data_set(self) -> str:
        """The folder below `data_txt`: ImageNet_LT, iNaturalist18, Places_LT_v2."""
        return self.path.split("/")[1]

    def below(self, folder: Path) -> Path:
        """Where the file lies when `folder` stands for `data_txt`."""
        return folder.joinpath(*self.path.split("/")[1:])


def git_blob_sha1(content: bytes) -> str:
    """The hash under which git stores a file: SHA-1 of "blob ", the size, a zero byte and the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def is_published(path: Path, *, manifest: Path = MANIFEST) -> bool:
    """Whether a list file's content is that of a published one, whatever its name."""
    return git_blob_sha1(path.read_bytes()) in {file.git_blob_sha1 for file in published_files(manifest=manifest)}


def published_files(data_sets: Sequence[str] = (), *, manifest: Path = MANIFEST) -> list[PublishedFile]:
    """The files of some data sets, all of them by default.

    Raises:
        UserError: an unknown data set is named.
    """
    content = json.loads(manifest.read_text(encoding="utf8"))
    files = [
        PublishedFile(
            path,
            content["raw_files"].format(repository=repository, commit=source["commit"]),
            **{key: metadata[key] for key in ("git_blob_sha1", "images", "classes", "holds") if key in metadata},
        )
        for repository, source in content["sources"].items()
        for path, metadata in source["files"].items()
    ]
    known = list(dict.fromkeys(file.data_set for file in files))
    for name in data_sets:
        if name not in known:
            raise UserError(f"{name}: is not one of the published data sets {', '.join(known)}{nearest(name, known)}")
    return [file for file in files if not data_sets or file.data_set in data_sets]
