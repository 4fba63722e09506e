"""What the tests of data sets share."""

from __future__ import annotations

import urllib.request
from typing import NoReturn
from urllib.error import URLError

import pytest


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads fail."""

    def urlopen(*arguments: object, **options: object) -> NoReturn:
        raise URLError("no network in the tests")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
