"""What the tests of the scripts share."""

from __future__ import annotations

import pytest

from tests.scripts.command_line import Shell


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Runs the scripts within this process: `shell("train.py", "-c", path)`."""
    return Shell(monkeypatch, capsys)
