"""Where a predictor is at home, and the correction from there to a known test prior.

Exact by construction: Gaussian classes whose posteriors are known, so that Bayes' rule has one right answer.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.priors import adjust_logits, mean_home
from tests.trainer.small_runs import small_config
from trainer.config.run_config import run_config
from trainer.evaluation.aggregations import predictors
from trainer.evaluation.distributions import Distribution
from trainer.evaluation.home import home_in_words, home_priors
from trainer.evaluation.prior_flags import assumption, chosen_prior
from trainer.evaluation.priors import PRIORS
from trainer.evaluation.protocol import evaluate
from trainer.evaluation.scripts import evaluation_parser
from trainer.loaders import build_loader
from utils.config.parser import ConfigParser
from utils.errors import UserError

COUNTS = np.array([400, 120, 40, 10])
TRAINING = COUNTS / COUNTS.sum()
UNIFORM = np.full(4, 0.25)


def bayes_logits(images: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """log p(y | x) + constant for classes that are N(y, 1) in one dimension: [M] → [M, C]."""
    with np.errstate(divide="ignore"):
        return np.log(prior) - (images[:, None] - np.arange(len(prior))) ** 2 / 2


@pytest.mark.parametrize("home", [TRAINING, UNIFORM, TRAINING[::-1]], ids=["training", "uniform", "inverse"])
@pytest.mark.parametrize("target", [UNIFORM, TRAINING[::-1]], ids=["uniform", "backward"])
def test_from_wherever_it_is_at_home_the_correction_leads_to_the_posterior(
    home: np.ndarray, target: np.ndarray
) -> None:
    images = np.linspace(-3, 6, 50)
    corrected = adjust_logits(bayes_logits(images, home), target, home_prior=home, eps=1e-15)
    right = bayes_logits(images, target)
    np.testing.assert_allclose(corrected - corrected[:, :1], right - right[:, :1], atol=1e-9)


def test_the_mean_of_logits_is_at_home_on_the_geometric_mean() -> None:
    homes = np.array([TRAINING, UNIFORM, TRAINING[::-1]])
    by_hand = np.cbrt(homes[0] * homes[1] * homes[2])
    np.testing.assert_allclose(mean_home(homes), by_hand / by_hand.sum())
    np.testing.assert_allclose(mean_home(TRAINING[None]), TRAINING)
    of_two = mean_home(np.array([[0.5, 0.5, 0], [0.8, 0.05, 0.15]]))  # √0.4 : √0.025 = 4 : 1
    np.testing.assert_allclose(of_two, [0.8, 0.2, 0])


def test_a_class_that_the_training_images_lack_stays_ruled_out() -> None:
    logits = np.zeros((1, 3), np.float32)
    corrected = adjust_logits(logits, [1, 1, 98], home_prior=[0.5, 0.5, 0.0])
    assert corrected[0, 2] == pytest.approx(np.log(1e-9), rel=1e-6)
    assert corrected[0, 0] == corrected[0, 1] == pytest.approx(np.log(0.01 / 0.5), rel=1e-5)


def test_priors_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="the home prior has 3 classes and the target prior 4"):
        adjust_logits(np.zeros((1, 4)), UNIFORM, home_prior=[1, 1, 1])


def test_a_known_prior_brings_every_expert_to_the_same_answer_and_the_published_one_does_not() -> None:
    """Experts that are right for different priors agree once each is corrected from its own."""
    images = np.linspace(-2, 5, 200)
    homes = np.array([TRAINING, UNIFORM])
    logits = np.stack([bayes_logits(images, home) for home in homes], axis=1)  # [M, E, C]
    targets = np.arange(200) % 10 % 4
    test_set = Distribution("uniform", np.arange(200))
    rows = list(
        evaluate(
            logits,
            targets,
            COUNTS.tolist(),
            distributions=[test_set],
            predictors=predictors(["mean", "experts"], 2),
            priors=[PRIORS["known"], PRIORS["posthoc"]],
            homes=homes,
        )
    )
    known = [row for row in rows if row["prior"] == "known"]
    assert [row["nll"] for row in known] == pytest.approx([known[0]["nll"]] * 3, rel=1e-5)
    assert [row["home"] for row in known] == ["training^0.50", "training", "uniform"]
    published = {row["predictor"]: row["nll"] for row in rows if row["prior"] == "posthoc"}
    assert published["expert 1"] == pytest.approx(known[0]["nll"], rel=1e-5)
    assert published["expert 0"] > 1.02 * published["expert 1"]


def test_experts_without_a_home_of_their_own_are_left_out_of_what_starts_from_there() -> None:
    logits = np.random.default_rng(0).normal(size=(8, 2, 4))
    options: dict[str, Any] = {
        "distributions": [Distribution("uniform", np.arange(8))],
        "predictors": predictors(["mean", "experts"], 2),
        "priors": [PRIORS[name] for name in ("none", "known", "posthoc")],
    }
    rows = list(evaluate(logits, np.arange(8) % 4, COUNTS.tolist(), homes=TRAINING[None], **options))
    assert [row["predictor"] for row in rows if row["prior"] == "known"] == ["ensemble"]
    assert [row["home"] for row in rows if row["prior"] == "none"] == ["training", "unknown", "unknown"]
    rows = list(evaluate(logits, np.arange(8) % 4, COUNTS.tolist(), homes=None, **options))
    assert {row["prior"] for row in rows} == {"none", "posthoc"}
    with pytest.raises(UserError, match="--prior known: the method does not say which class prior"):
        assumption(PRIORS["known"], [row for row in rows if row["prior"] == "known"])


@pytest.mark.parametrize(
    ("home", "words"),
    [
        (None, "unknown"),
        (UNIFORM, "uniform"),
        (TRAINING, "training"),
        (TRAINING**-0.25 / (TRAINING**-0.25).sum(), "training^-0.25"),
        (np.array([0.4, 0.1, 0.4, 0.1]), "other"),
        (np.array([0.5, 0.5, 0.0, 0.0]), "other"),
    ],
)
def test_a_home_in_words(home: np.ndarray | None, words: str) -> None:
    assert home_in_words(home, COUNTS) == words


def test_classes_without_training_images_are_passed_over_in_words() -> None:
    assert home_in_words(np.array([0.5, 0.5, 0]), [10, 5, 0]) == "uniform"
    assert home_in_words(np.array([2 / 3, 1 / 3, 0]), [10, 5, 0]) == "training"
    assert home_in_words(UNIFORM, [5, 5, 5, 5]) == "uniform"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss__args__tau_list": [0, 2]}, ["training", "training^-1.00"]),
        ({"loss": {"type": "CrossEntropyLoss"}}, ["training"]),
        ({"loss": {"type": "CrossEntropyLoss"}, "data_loader__args__balanced": True}, ["uniform"]),
        ({"loss__args__tau_list": [0, 2], "method": {"type": "EMA"}}, ["training", "training^-1.00"]),
    ],
    ids=["BalPoE", "cross-entropy", "balanced sampling", "EMA"],
)
def test_a_run_knows_where_it_is_at_home(changes: dict[str, Any], words: list[str]) -> None:
    config = run_config(ConfigParser(small_config(**changes), source="test"))
    loader = build_loader(config)
    homes = home_priors(config, loader.of_split("test"))
    assert homes is not None
    assert [home_in_words(home, loader.cls_num_list) for home in homes] == words


def test_a_prior_from_a_file_is_applied_to_the_classes_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "prior.csv"
    path.write_text("class,frequency\ndog,0.9\ncat,0.1\n", encoding="utf8")
    logits = np.zeros((1, 1, 2))
    (row,) = evaluate(
        logits,
        np.array([1]),
        [5, 5],
        distributions=[Distribution("uniform", np.arange(1))],
        predictors=predictors(["mean"], 1),
        priors=[chosen_prior(flags("--prior", str(path)))],
        homes=np.array([[0.5, 0.5]]),
        class_names=["cat", "dog"],
    )
    assert (row["prior"], row["accuracy"]) == ("file prior.csv", 1)
    assert row["nll"] == pytest.approx(-np.log(0.9), abs=1e-6)


# -- flags ------------------------------------------------------------------------------------------------------------


def flags(*words: str) -> argparse.Namespace:
    return evaluation_parser("of a test", "").parse_args(words)


def test_the_flags_name_one_prior() -> None:
    assert chosen_prior(flags()) is chosen_prior(flags("--prior", "none")) is PRIORS["none"]
    assert chosen_prior(flags("--prior", "known")) is PRIORS["known"]
    assert chosen_prior(flags("--posthoc_bias_correction")) is PRIORS["posthoc"]
    for prior in ("none", "known"):
        with pytest.raises(UserError, match="--prior and --posthoc_bias_correction exclude each other"):
            chosen_prior(flags("--prior", prior, "--posthoc_bias_correction"))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            "knwon",
            r"--prior knwon: give none, auto, bbse, em, known, .*, or a CSV or JSON file; did you mean 'known'\?",
        ),
        ("posthoc", "--prior posthoc: give none, auto, bbse, em"),
        ("missing.csv", "missing.csv: no such file of a prior"),
    ],
)
def test_another_word_or_a_missing_file_is_one_line(given: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        chosen_prior(flags("--prior", given))


def test_what_is_assumed_is_told_and_a_published_correction_in_the_wrong_place_is_noted() -> None:
    def told(prior: str, home: str) -> str:
        return assumption(
            PRIORS[prior], [{"predictor": "ensemble", "home": home}, {"predictor": "expert 0", "home": "other"}]
        )

    assert told("none", "training") == "without knowledge of the test prior"
    assert told("known", "training").endswith("; π_home is training")
    assert "note" not in told("posthoc", "uniform")
    assert "note: that is right where π_home is uniform, and here π_home is training^-0.25" in told(
        "posthoc", "training^-0.25"
    )
