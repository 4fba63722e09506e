"""Every method by every update rule: it trains, a checkpoint holds all of it, and an interruption leaves no trace."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import trainer.methods as methods
from benchmarks.crash_campaign import differences
from tests.registries.entries import EPOCHS, METHODS, PAIRS, STEPS, Variant, config_of
from tests.trainer.small_runs import run, small_trainer
from tests.trainer.stopped_runs import assert_same_runs, run_with_stops
from trainer.config.run_config import find_problems
from trainer.trainer import Trainer
from utils.files.checkpoint import load_checkpoint


class Undisturbed(NamedTuple):
    """A run that nothing happened to, and a trainer as it begins."""

    variant: Variant
    config: dict[str, Any]
    folder: Path
    fresh: Trainer

    @property
    def last(self) -> Path:
        """The checkpoint that it ends with."""
        return self.folder / f"checkpoint-epoch{EPOCHS}.pth"


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: "-".join(map(str, pair)))
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, first_stage: Path
) -> Undisturbed:
    variant, rule = request.param
    config = config_of(variant, rule, first_stage, trainer__validate=True, trainer__save_period=EPOCHS)
    folder = tmp_path_factory.mktemp("undisturbed")
    assert find_problems(config) == []
    run(folder, config)
    fresh = small_trainer(tmp_path_factory.mktemp("fresh"), config)
    fresh.recorder.close()
    return Undisturbed(variant, config, folder, fresh)


def is_trained(variant: Variant, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in variant.trainable)


def test_a_configuration_may_name_whatever_is_listed() -> None:
    assert methods.__all__ == METHODS


def test_it_trains_what_it_says_and_the_rest_stays_to_the_bit(undisturbed: Undisturbed) -> None:
    """BatchNorm's statistics and its count of batches are part of the rest."""
    fresh = undisturbed.fresh
    parameters = [name for name, _ in fresh.method.network.named_parameters()]
    content, start = load_checkpoint(undisturbed.last), fresh.parts.state_dict()
    for part in (name for name in content if name.endswith("state_dict")):
        unchanged = {name for name, value in start[part].items() if not differences(value, content[part][name])}
        assert unchanged.isdisjoint(name for name in parameters if is_trained(undisturbed.variant, name)), part
        if undisturbed.variant.trainable != ("*",):
            assert unchanged == {name for name in content[part] if not is_trained(undisturbed.variant, name)}, part


def test_what_stays_is_the_first_stages_and_what_it_resets_is_new(undisturbed: Undisturbed, first_stage: Path) -> None:
    if "initialise" not in undisturbed.config:
        return
    first, second = (load_checkpoint(path)["state_dict"] for path in (first_stage, undisturbed.last))
    stays = [name for name in second if not is_trained(undisturbed.variant, name)]
    assert any(name.endswith("num_batches_tracked") for name in stays)
    assert {name: second[name].tolist() for name in stays} == {name: first[name].tolist() for name in stays}


def test_every_part_of_its_checkpoint_is_taken_up(undisturbed: Undisturbed, tmp_path: Path) -> None:
    content = load_checkpoint(undisturbed.last)
    continued = small_trainer(tmp_path, undisturbed.config, resume=undisturbed.last)
    continued.recorder.close()
    parts = continued.parts.state_dict()
    assert parts.keys() <= content.keys()
    assert differences(parts, {name: content[name] for name in parts}) == []
    assert continued.method.checkpoint_parts().keys() <= parts.keys()


def test_stopped_within_epochs_and_continued_it_ends_with_the_same_bits(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    places = {(0, 1, 0), (1, STEPS - 1, 0), (1, STEPS, 0), (1, STEPS, 1)}  # the last one after `finish_epoch`
    assert run_with_stops(tmp_path, undisturbed.config, set(places)) == 1 + len(places)
    assert_same_runs(tmp_path, undisturbed.folder)


def test_its_class_prior_sums_to_one_if_it_has_one(undisturbed: Undisturbed) -> None:
    method = undisturbed.fresh.method
    homes = method.home_priors()
    if homes is not None:
        assert homes.shape in {(1, 10), (method.network.backbone.num_experts, 10)}
        assert homes.min() >= 0
        assert homes.sum(axis=1) == pytest.approx(1)


def test_the_networks_that_it_evaluates_are_those_that_it_names(undisturbed: Undisturbed) -> None:
    fresh = undisturbed.fresh
    names = {name for kind in undisturbed.variant.classes for name in kind.weights}
    assert set(fresh.method.networks()) == names
    further = {f"{name}_state_dict" for name in names - {"raw"}}
    assert fresh.parts.state_dict().keys() >= further | {"state_dict"}, "evaluation finds them in a checkpoint"
