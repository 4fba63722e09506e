"""What the tests over registries share: shallow networks, and one trained first stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registries.entries import first_stage_config
from tests.trainer.small_runs import make_quick, run


@pytest.fixture(scope="package", autouse=True)
def _quick() -> Iterator[None]:
    """One block of eight channels a stage."""
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        yield


@pytest.fixture(scope="package")
def first_stage(tmp_path_factory: pytest.TempPathFactory, _quick: None) -> Path:
    """Checkpoint of a trained network, for methods that start from one."""
    folder = tmp_path_factory.mktemp("first_stage")
    run(folder, first_stage_config())
    return folder / "checkpoint-epoch1.pth"
