"""What operating systems, editors, archives and tools leave in folders of images: nothing of it is an image."""

from __future__ import annotations

import re

_FILES = frozenset(
    (".ds_store", ".localized", ".gitignore", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r")
)
_FOLDERS = frozenset(
    (
        *("__macosx", "@eadir", "#recycle", "@recycle", "@recently-snapshot", "lost+found"),
        *("$recycle.bin", "recycler", "system volume information", "__pycache__", "cvs"),
    )
)
_TEMPORARY = re.compile(r"~\$.*|.*~|#.*#|.*\.(tmp|temp|part|partial|crdownload|download|swp|bak)", re.DOTALL)


def leftover_kind(name: str, *, is_folder: bool) -> str:
    """What of their like a file or folder is, by its name; empty: none of it.

    Whatever is hidden, by a dot before its name, is one.

    Returns:
        its name where it is well known (".DS_Store"), with "/" behind it where it is a folder ("__MACOSX/"), else
        "._*", "hidden" or "temporary".
    """
    if is_folder:
        return f"{name}/" if name.startswith(".") or name.lower() in _FOLDERS else ""
    if name.startswith("._"):
        return "._*"
    if name.lower() in _FILES:
        return name.strip()
    if name.startswith("."):
        return "hidden"
    return "temporary" if _TEMPORARY.fullmatch(name.lower()) else ""
