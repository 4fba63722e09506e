"""What the tests over registries share: shallow networks, and one trained first stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import model.model as networks
from tests.registries.entries import SHALLOW, first_stage_config
from tests.trainer.small_runs import run


@pytest.fixture(scope="package", autouse=True)
def _shallow() -> Iterator[None]:
    """One block a stage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks.ResNet32Model, "architecture", SHALLOW)
        yield


@pytest.fixture(scope="package")
def first_stage(tmp_path_factory: pytest.TempPathFactory, _shallow: None) -> Path:
    """Checkpoint of a trained network, for methods that start from one."""
    folder = tmp_path_factory.mktemp("first_stage")
    run(folder, first_stage_config())
    return folder / "checkpoint-epoch1.pth"
