"""What lies in a folder of images: its folders and files; what is neither is refused by name, and so are loops."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from data_loader.datasets.leftovers import leftover_kind
from utils.errors import UserError
from utils.files.reading import regular_file

# torchvision's own list, without a wait for torchvision
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


_SHOWN = 12  # kinds of skipped files


class FolderWalk:
    """Walks through folders, each of them once; what it passes over is counted.

    Attributes:
        skipped: files that are no images by their extension, and leftovers: kind → number; folders end with "/".
    """

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self._counted: set[str] = set()
        self._seen: dict[tuple[int, int], str] = {}

    def images_below(self, folder: Path) -> list[str]:
        """The paths of the images in a folder and in those below it, sorted; symbolic links are followed.

        Raises:
            UserError: a folder can't be read, or is reached twice, as where a link leads back.
        """
        images: list[str] = []
        ahead = [str(folder)]
        while ahead:
            current = ahead.pop()
            self._enter(current)
            for entry in self._entries(current):
                if is_folder(entry):
                    ahead.append(entry.path)
                elif is_image(entry.name):
                    images.append(entry.path)
                else:
                    self.skipped[os.path.splitext(entry.name)[1].lower() or "no extension"] += 1
        return sorted(images)

    def folders_in(self, folder: Path) -> list[str]:
        """The names of the folders in a folder, sorted.

        Raises:
            UserError: it can't be read as a folder, or something in it is neither folder nor file.
        """
        names = []
        for entry in self._entries(str(folder)):
            if is_folder(entry):
                names.append(entry.name)
            elif not entry.is_file(follow_symlinks=False):
                regular_file(Path(entry.path), "folder or file")
        return sorted(names)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """What is in a folder; leftovers are counted and left out."""
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError as error:
            where = f"{error.strerror}; data_loader.args.data_dir"
            raise UserError(f"{folder}: can't be read as a folder ({where})") from None
        kinds = [leftover_kind(entry.name, is_folder=is_folder(entry)) for entry in found]
        if folder not in self._counted:
            self._counted.add(folder)
            self.skipped.update(kind for kind in kinds if kind)
        return [entry for entry, kind in zip(found, kinds, strict=True) if not kind]

    def _enter(self, folder: str) -> None:
        """Remember a folder by what it is, not by its name, which links may change for ever."""
        try:
            status = os.stat(folder)
        except OSError as error:
            raise UserError(f"{folder}: can't be read as a folder ({error.strerror})") from None
        before = self._seen.setdefault((status.st_dev, status.st_ino), folder)
        if before != folder:
            raise UserError(f"{folder}: is the same folder as {before}, by a symbolic link; remove the link")


def is_image(file: str) -> bool:
    """Whether a file is one by its extension."""
    return file.lower().endswith(IMAGE_EXTENSIONS)


def skipped_files_line(skipped: Counter[str]) -> str:
    """`"skipped: 3 files, 1 folder (.gif 2, .txt 1, __MACOSX/ 1)"`, the most frequent kind first."""
    folders = sum(count for kind, count in skipped.items() if kind.endswith("/"))
    counts = {"file": skipped.total() - folders, "folder": folders}
    told = ", ".join(f"{count:,} {what}{'s' * (count != 1)}" for what, count in counts.items() if count)
    by_count = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{kind} {count}" for kind, count in by_count[:_SHOWN]] + ["…"] * (len(by_count) > _SHOWN)
    return f"skipped: {told} ({', '.join(kinds)})"


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether something is a folder, or a symbolic link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False
