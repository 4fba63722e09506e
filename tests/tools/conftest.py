"""What several commands are tried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.run_on_jpegs import make_run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `make_run`; nobody writes there."""
    return make_run(tmp_path_factory.mktemp("jpegs"))
