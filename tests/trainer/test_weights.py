"""Weights that a run begins with: taken, frozen, refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainer.small_runs import run, small_config, small_trainer
from utils.errors import ConfigError


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run(folder, small_config(trainer__epochs=1))
    return folder / "checkpoint-epoch1.pth"


def test_a_run_begins_with_the_weights_that_it_is_told_to_take(tmp_path: Path, trained: Path) -> None:
    config = small_config(initialise={"checkpoint": str(trained), "reset": ["backbone.layer3*"]})
    trainer = small_trainer(tmp_path, config)
    trainer.recorder.close()
    state = torch.load(trained, weights_only=True)["state_dict"]
    for name, value in trainer.method.network.state_dict().items():
        if name.startswith("backbone.layer3") and name.endswith("conv1.weight"):
            assert not torch.equal(value, state[name]), name
        elif not name.startswith("backbone.layer3"):
            assert torch.equal(value, state[name]), name


def test_what_trainable_does_not_name_stays_to_the_bit(tmp_path: Path, trained: Path) -> None:
    """Statistics included, and weight decay notwithstanding."""
    config = small_config(initialise={"checkpoint": str(trained)}, trainable=["backbone.linears.1.*"])
    before, after = (content["state_dict"] for content in (torch.load(trained), run(tmp_path, config)))
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"backbone.linears.1.weight"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"trainable": ["backbone.lineal*"]}, r"trainable: 'backbone\.lineal\*' fits none .*linear"),
        ({"initialise": {"checkpoint": "PATH", "reset": ["layer9*"]}}, r"initialise: .*'layer9\*' fits none"),
        (
            {"initialise": {"checkpoint": "PATH", "reset": ["*linears.0*"]}, "trainable": ["*linears.1*"]},
            r"initialise: .*linears\.0\.weight that fits, and it is not trained: it would stay random",
        ),
    ],
)
def test_what_can_not_be_meant_is_one_line(
    tmp_path: Path, trained: Path, changes: dict[str, dict[str, object]], line: str
) -> None:
    if "initialise" in changes:
        changes = {**changes, "initialise": {**changes["initialise"], "checkpoint": str(trained)}}
    with pytest.raises(ConfigError, match=line) as caught:
        small_trainer(tmp_path, small_config(**changes))
    assert len(caught.value.problems) == 1
