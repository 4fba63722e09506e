"""The check of a data set's images, called as its command is, but in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_loader import check

Check = Callable[..., tuple[Any, str]]


def check_in(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """`call(data_loader section, *flags)` → exit code and output; what is wrong goes into `folder/bad.txt`."""

    def call(section: dict[str, Any], *flags: str) -> tuple[Any, str]:
        (folder / "config.json").write_text(json.dumps({"data_loader": section}))
        command = ["check", str(folder / "config.json"), "--out", str(folder / "bad.txt"), *flags]
        monkeypatch.setattr(sys, "argv", command)
        try:
            check.main()
        except SystemExit as ended:
            return ended.code, capsys.readouterr().out
        return 0, capsys.readouterr().out

    return call
