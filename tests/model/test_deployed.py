"""One program of pixels to probabilities: the same as its parts, one after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.calibration import softmax
from model.deployed import DeployedModel
from model.model import ResNet10Model
from model.posthoc_calibration import Calibrator
from model.priors import adjust_logits

CLASSES, SIDE = 5, 16
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
HOME, TARGET = np.array([5, 4, 3, 2, 1.0]), np.array([1, 1, 2, 3, 0.0])
CALIBRATOR = Calibrator(np.linspace(0.5, 2, CLASSES), np.linspace(-1, 1, CLASSES))
SHARPER = Calibrator(CALIBRATOR.scale, CALIBRATOR.bias, 0.5)


@pytest.fixture(scope="module")
def network() -> ResNet10Model:
    torch.manual_seed(0)
    narrow = {"layer2_output_dim": 8, "layer3_output_dim": 8, "layer4_output_dim": 8}
    return ResNet10Model(num_classes=CLASSES, num_experts=2, use_norm=True, returns_feat=True, **narrow).eval()


@pytest.mark.parametrize("calibrator", [None, CALIBRATOR, SHARPER], ids=["raw", "calibrated", "sharper"])
@pytest.mark.parametrize(("home", "target"), [(None, None), (None, TARGET), (HOME, TARGET)])
def test_its_probabilities_are_those_of_the_parts_in_their_order(network, calibrator, home, target):
    pixels = np.random.default_rng(1).integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)
    inputs = (pixels / 255 - MEAN) / STD  # by channel, the last axis
    with torch.no_grad():
        logits = (
            network.expert_logits(torch.tensor(inputs, dtype=torch.float32).permute(0, 3, 1, 2)).mean(dim=1).numpy()
        )
        model = DeployedModel(network, mean=MEAN, std=STD, calibrator=calibrator, home_prior=home, target_prior=target)
        found = model(torch.from_numpy(pixels)).numpy()
    if calibrator is not None:
        logits = calibrator(logits)
    if target is not None:
        logits = adjust_logits(logits, target, home_prior=home)
    if target is not None and calibrator is SHARPER:
        prior, ours = target / target.sum(), np.full(CLASSES, 1 / CLASSES) if home is None else home / home.sum()
        logits = logits * np.exp(0.5 * (prior[:4] * np.log(prior[:4] / ours[:4])).sum())
    np.testing.assert_allclose(found, softmax(logits), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    assert found.dtype == np.float32


def test_a_calibration_or_prior_of_other_classes_is_refused(network):
    with pytest.raises(ValueError, match="the calibration has 4 classes and the network 5"):
        DeployedModel(network, mean=MEAN, std=STD, calibrator=Calibrator(np.ones(4), np.zeros(4)))
    with pytest.raises(ValueError, match="logits have 5 classes and the target prior 4"):
        DeployedModel(network, mean=MEAN, std=STD, target_prior=np.ones(4))
