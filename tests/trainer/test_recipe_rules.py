"""Mistakes that span several keys: one line each, at the right path, and all of them at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from model.losses.cross_entropy import CrossEntropyLoss
from tests.trainer.small_runs import small_config
from trainer.config.components import LOSS
from trainer.config.run_config import find_problems, run_config
from trainer.loaders import build_loader
from trainer.methods.supervised import Supervised
from utils.config.components import Component
from utils.config.parser import ConfigParser
from utils.errors import ConfigError, Problem

PLATEAU: dict[str, Any] = {"type": "ReduceLROnPlateau", "args": {"mode": "max"}}

# changes to a sound configuration, the path that the one line begins with, and a word that it must hold
MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "too many τ": ({"loss__args__tau_list": [0, 1, 2]}, "loss.args.tau_list", "num_experts is 2"),
    "too few τ in text": ({"loss__args__tau_list": "1"}, "loss.args.tau_list", "num_experts is 2"),
    "τ that are no numbers": ({"loss__args__tau_list": "low;high"}, "loss.args.tau_list", "limits"),
    "limits without limits": ({"loss__args__tau_list": "limits"}, "loss.args.tau_list", "tau_min and tau_max"),
    "limits without one": ({"loss__args__tau_list": "limits", "loss__tau_min": 0}, "loss.args.tau_list", "tau_max"),
    "graphs of micro-batches": (
        {"trainer__compile": "reduce-overhead", "trainer__accumulate_steps": 4},
        "trainer.compile",
        "does not go with trainer.accumulate_steps 4",
    ),
    "graphs of as many as fit": (
        {"trainer__compile": "max-autotune", "trainer__accumulate_steps": "auto"},
        "trainer.compile",
        "does not go with trainer.accumulate_steps auto",
    ),
    "a compiled network in threads": (
        {"trainer__compile": True, "trainer__parallel": "dp"},
        "trainer.compile",
        "true does not go with trainer.parallel dp: set ddp",
    ),
    "graphs in threads": (
        {"trainer__compile": "reduce-overhead", "trainer__parallel": "dp"},
        "trainer.compile",
        "reduce-overhead does not go with trainer.parallel dp: set ddp",
    ),
    "a fused update in half precision": (
        {"optimizer__args__fused": True, "trainer__precision": "fp16"},
        "optimizer.args.fused",
        "fp16",
    ),
    "a mode that there is not": ({"trainer__compile": "fastest"}, "trainer.compile", "reduce-overhead"),
    "experts' logits withheld": ({"add_extra_info": False}, "add_extra_info", "true"),
    "experts' logits not returned": ({"arch__args__returns_feat": False}, "arch.args.returns_feat", "true"),
    "layer 3 shared alone": (
        {"arch__args__share_layer2": False, "arch__args__share_layer3": True},
        "arch",
        "share_layer2",
    ),
    "a fourth layer": ({"arch__args__layer4_output_dim": 9}, "arch", "layer4_output_dim"),
    "Nesterov without momentum": ({"optimizer__args__momentum": 0}, "optimizer", "omentum"),
    "negative rate": ({"optimizer__args__lr": -0.1}, "optimizer", "-0.1"),
    "an optimiser of closures": ({"optimizer": {"type": "LBFGS"}}, "optimizer.type", "LBFGS"),
    "an optimiser of sparse gradients": ({"optimizer": {"type": "SparseAdam"}}, "optimizer.type", "SparseAdam"),
    "an optimiser of matrices": ({"optimizer": {"type": "Muon"}}, "optimizer.type", "Muon"),
    "an unrecorded monitor": ({"trainer__monitor": "max val_acc"}, "trainer.monitor", "val_accuracy"),
    "a monitor without direction": ({"trainer__monitor": "val_accuracy"}, "trainer.monitor", "max NAME"),
    "a monitor of a metric left out": (
        {"trainer__monitor": "max val_top_k_acc"},
        "trainer.monitor",
        "val_accuracy",
    ),
    "a plateau of nothing": ({"lr_scheduler": PLATEAU}, "trainer.monitor", "--val"),
    "a plateau without validation": (
        {"lr_scheduler": PLATEAU, "trainer__monitor": "max val_accuracy"},
        "trainer.monitor",
        "--val",
    ),
    "a plateau of the training loss": (
        {"lr_scheduler": PLATEAU, "trainer__monitor": "min loss", "trainer__validate": True},
        "trainer.monitor",
        "val_",
    ),
    "a switch written as a number": (
        {"trainer__validate": 1},
        "trainer.validate",
        "true or false",
    ),
    "a plateau that awaits the minimum of an accuracy": (
        {
            "lr_scheduler": {"type": "ReduceLROnPlateau"},
            "trainer__monitor": "max val_accuracy",
            "trainer__validate": True,
        },
        "lr_scheduler.args.mode",
        "'min'",
    ),
    "CutMix of logits": (
        {"combiner__mode": "cutmix", "combiner__mixup__target_mix_strategy": "mix_logits"},
        "combiner.mixup.target_mix_strategy",
        "mixup",
    ),
    "CutMix of logits at the end": (
        {
            "finetuning_combiner": {
                "initial_epoch": 2,
                "mode": "mixup_cutmix",
                "mixup": {"target_mix_strategy": "mix_logits"},
            }
        },
        "finetuning_combiner.mixup.target_mix_strategy",
        "mixup",
    ),
    "fine-tuning without its epoch": (
        {"finetuning_combiner": {"mode": "default"}},
        "finetuning_combiner.initial_epoch",
        "missing",
    ),
    "an unknown method": ({"method": {"type": "Supervized"}}, "method.type", "did you mean 'Supervised'?"),
    "two averages": (
        {"method": {"type": "SWA", "args": {"method": {"type": "EMA"}}}},
        "method.args.method",
        "both keep",
    ),
    "a number out of range in a method": ({"method": {"type": "EMA", "args": {"decay": 2}}}, "method.args.decay", "1"),
    "an unknown method within one": (
        {"method": {"type": "EMA", "args": {"method": {"type": "Supervise"}}}},
        "method.args.method.type",
        "did you mean 'Supervised'?",
    ),
    "the network given by hand": (
        {"method": {"type": "Supervised", "args": {"network": 1}}},
        "method.args.network",
        "program",
    ),
    "the network given by hand to a method within one": (
        {"method": {"type": "EMA", "args": {"method": {"type": "Supervised", "args": {"network": 1}}}}},
        "method.args.method.args.network",
        "program",
    ),
    "an unknown update rule": ({"update_rule": {"type": "SAN"}}, "update_rule.type", "SAM"),
    "a radius of nothing": (
        {"update_rule": {"type": "SAM", "args": {"rho": 0}}},
        "update_rule.args.rho",
        "more than 0",
    ),
    "weights from nowhere": ({"initialise": {"reset": ["backbone.*"]}}, "initialise.checkpoint", "missing"),
    "patterns that are none": ({"trainable": ["*", 3]}, "trainable[1]", "a string"),
    "a further loader of an unknown type": ({"loaders__x": {"type": "Digits"}}, "loaders.x.type", "Digits"),
    "a further loader that nobody reads": (
        {"loaders__x": {"type": "ImbalanceDigitsDataLoader", "args": {"batch_size": 8}}},
        "loaders.x",
        "Supervised takes batches of data_loader",
    ),
    "a second stage without a first": ({"method": {"type": "cRT"}}, "initialise", "cRT"),
    "counts given by hand": ({"loss__args__cls_num_list": [1]}, "loss.args.cls_num_list", "program"),
    "seed in the loader": ({"data_loader__args__seed": 3}, "data_loader.args.seed", "program"),
    "a function's type": ({"optimizer": {"type": "swa_utils"}}, "optimizer.type", "SGD"),
    "an abstract schedule": ({"lr_scheduler": {"type": "LRScheduler"}}, "lr_scheduler.type", "CustomLR"),
    "an unknown metric": ({"metrics": ["accuracy", "accurancy"]}, "metrics[1]", "accuracy"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_at_its_path(mistake: str) -> None:
    changes, path, word = MISTAKES[mistake]
    found = find_problems(small_config(**changes))
    assert len(found) == 1, found
    assert found[0].path == path
    assert word in found[0].message
    assert "\n" not in str(found[0])


def test_the_small_configuration_itself_has_no_problem() -> None:
    assert find_problems(small_config()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"lr_scheduler": PLATEAU, "trainer__monitor": "max val_accuracy", "trainer__validate": True},
        {"lr_scheduler": {"type": "ReduceLROnPlateau"}, "trainer__monitor": "min val_loss", "trainer__validate": True},
        {"combiner__mixup__target_mix_strategy": "mix_logits"},
        {"trainer__monitor": "min loss"},
        {"method": {"type": "EMA", "args": {"decay": 0.99, "method": {"type": "Supervised"}}}},
        {"method": {"type": "SWA", "args": {"method": {"type": "Supervised"}}}},
        {"method": {"type": "cRT"}, "initialise": {"checkpoint": "first.pth"}, "trainable": ["*linear*"]},
        {"update_rule": {"type": "SAM", "args": {"rho": 0.1, "local": True}}},
        {"metrics": ["top_k_acc"], "trainer__monitor": "max val_top_k_acc"},
        {"optimizer": {"type": "AdamW", "args": {"lr": 1e-3}}},
        {"loss": {"type": "CrossEntropyLoss"}, "add_extra_info": False, "arch__args__returns_feat": False},
        {"arch__args__num_experts": 1, "loss__args__tau_list": [1], "arch__args__returns_feat": False},
    ],
)
def test_sound_combinations_pass(changes: dict[str, Any]) -> None:
    assert find_problems(small_config(**changes)) == []


class NeedyLoss(CrossEntropyLoss):
    """A loss that needs each expert's logits and more classes than there are."""

    needs_expert_logits = True

    def __init__(self, num_classes: int, least: int = 0) -> None:
        super().__init__()
        if num_classes < least:
            raise ValueError(f"{num_classes} classes are fewer than {least}\nby far")


@pytest.fixture
def _needy_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = {**LOSS.choices(), "NeedyLoss": NeedyLoss}
    original = Component.choices
    monkeypatch.setattr(Component, "choices", lambda self: choices if self == LOSS else original(self))


@pytest.mark.usefixtures("_needy_loss")
def test_what_a_losss_constructor_refuses_is_one_line_before_anything_is_built() -> None:
    assert find_problems(small_config(loss={"type": "NeedyLoss", "args": {"least": 10}})) == []
    assert find_problems(small_config(loss={"type": "NeedyLoss", "args": {"least": 11}})) == [
        Problem("loss", "10 classes are fewer than 11")
    ]


@pytest.mark.usefixtures("_needy_loss")
def test_a_loss_that_says_that_it_needs_each_experts_logits_is_given_them() -> None:
    found = find_problems(
        small_config(loss={"type": "NeedyLoss"}, add_extra_info=False, arch__args__returns_feat=False)
    )
    assert {problem.path for problem in found} == {"add_extra_info", "arch.args.returns_feat"}


def test_all_mistakes_are_told_at_once_those_of_one_key_and_those_between_keys() -> None:
    config = small_config(
        loss__args__tau_list=[0, 1, 2],
        trainer__monitor="max val_acc",
        optimizer__args__lr="fast",
        combiner__mixup__alpha=0,
        lr_scheduler__args__step1=-1,
    )
    config["nmae"] = config.pop("name")
    paths = {problem.path for problem in find_problems(config)}
    assert paths == {
        "nmae",
        "loss.args.tau_list",
        "trainer.monitor",
        "optimizer.args.lr",
        "combiner.mixup.alpha",
        "lr_scheduler.args.step1",
    }


@pytest.mark.parametrize("section", ["name", "arch", "data_loader", "optimizer", "lr_scheduler", "loss", "trainer"])
def test_a_missing_section_is_one_line(section: str) -> None:
    config = small_config()
    del config[section]
    found = find_problems(config)
    assert len(found) == 1
    assert str(found[0]).startswith(f"{section}: is missing")


@pytest.mark.parametrize("value", [None, [], "text", 3])
@pytest.mark.parametrize("section", ["arch", "data_loader", "optimizer", "lr_scheduler", "loss", "trainer", "combiner"])
def test_a_section_that_is_no_object_is_one_line(section: str, value: Any) -> None:
    found = find_problems(small_config(**{section: value}))
    assert len(found) == 1
    assert found[0].path == section


@pytest.mark.parametrize("value", [None, [], "text"])
def test_a_configuration_that_is_no_object_is_one_line(value: Any) -> None:
    assert len(find_problems(value)) == 1


def test_checking_allocates_no_network_and_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    find_problems(small_config(arch__args__num_classes=10**9))  # 64 GB of classifiers, were they allocated
    assert torch.equal(torch.get_rng_state(), before)


def test_a_number_of_classes_that_disagrees_with_the_data_names_both_numbers_and_the_flag() -> None:
    parser = ConfigParser(
        small_config(), source="small.json", overrides={"arch.args.num_classes": (12, "--set")}, resume=None
    )
    config = run_config(parser)
    with pytest.raises(ConfigError) as caught:
        build_loader(config)
    assert len(caught.value.problems) == 1
    line = str(caught.value.problems[0])
    assert line.startswith("arch.args.num_classes: 12 ")
    assert "10 classes" in line
    assert "(set by --set)" in line


def test_a_rate_beyond_single_precision_is_refused_by_its_path() -> None:
    cosine = {"type": "CosineAnnealingLR", "args": {"T_max": 2, "eta_min": 1e308}}
    (problem,) = find_problems(small_config(lr_scheduler=cosine))
    assert str(problem).startswith("lr_scheduler: the learning rate of epoch 2 would be ")


class AsksForTaus(CrossEntropyLoss):
    """A loss that takes τ under the name that methods use."""

    def __init__(self, taus: list[float]) -> None:
        super().__init__()
        self.taus = torch.tensor(taus)


class AsksForViews(Supervised):
    """A method that makes up a view."""

    views = ("student",)  # type: ignore[assignment]


def test_a_loss_that_asks_for_taus_is_told_how_losses_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Component.choices
    monkeypatch.setattr(Component, "choices", lambda self: {**original(self), "AsksForTaus": AsksForTaus})
    (problem,) = find_problems(small_config(loss={"type": "AsksForTaus"}))
    assert str(problem) == (
        "loss.type: AsksForTaus asks for taus; a loss is given τ of each expert as its own argument tau_list"
    )


def test_a_view_that_there_is_not_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Component.choices
    monkeypatch.setattr(Component, "choices", lambda self: {**original(self), "AsksForViews": AsksForViews})
    (problem,) = find_problems(small_config(method={"type": "AsksForViews"}))
    assert str(problem) == (
        "method.type: AsksForViews asks for the view 'student' of the images; there are train, weak, strong, test"
    )


def test_a_run_that_was_compiled_in_threads_is_evaluated_all_the_same() -> None:
    config = small_config(trainer__compile=True, trainer__parallel="dp")
    assert find_problems(config, trained=True) == []
    assert len(find_problems(config)) == 1
