"""What is frozen stays as it is to the bit, whatever the optimiser does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import model as networks
from model.batch_norm import BatchNorm2d
from model.experts import ExpertModel
from model.rescaling import PerClassScale
from model.trainable import freeze_except, set_training_mode


def network_of(num_experts: int = 2, *, dropout: float = 0.0) -> ExpertModel:
    torch.manual_seed(0)
    return networks.ResNet32Model(num_classes=4, num_experts=num_experts, use_norm=True, dropout=dropout)


def learn(network: ExpertModel, steps: int = 1) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """State before and after steps of SGD over what is trained."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    set_training_mode(network)
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)
    for step in range(steps):
        images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        F.cross_entropy(network(images), torch.tensor([0, 1, 2, 3])).backward()
        optimizer.step()
    return before, network.state_dict()


@pytest.mark.parametrize(
    "patterns",
    [
        ["*linear*"],
        ["backbone.layer3s.1.*", "*linears.1*"],
        ["*bn?.*"],
        ["rescale.*"],
        ["backbone.layer2s.0.4.bn2.bias"],
    ],
    ids=str,
)
def test_frozen_tensors_stay_bit_identical_and_the_others_learn(patterns: list[str]) -> None:
    network = network_of()
    network.rescale = PerClassScale(2, 4)
    trained = freeze_except(network, patterns)
    before, after = learn(network, steps=2)
    modules = {name.rpartition(".")[0] for name in trained}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for name, value in after.items():
        module, _, part = name.rpartition(".")
        learns = name in trained or (part in statistics and module in modules)
        assert torch.equal(value, before[name]) is not learns, name


def test_everything_learns_where_nothing_is_frozen() -> None:
    network = network_of()
    set_training_mode(network)
    assert all(module.training for module in network.modules())
    before, after = learn(network)
    assert not any(torch.equal(value, before[name]) for name, value in after.items())


def test_only_batchnorm_changes_its_mode() -> None:
    network = network_of(dropout=0.5)
    freeze_except(network, ["*linear*"])
    network.eval()
    set_training_mode(network)
    assert {type(module) for module in network.modules() if not module.training} == {BatchNorm2d}
    assert network.backbone.dropout.training


def test_batchnorm_without_weights_goes_with_the_module_around_it() -> None:
    def head() -> nn.Sequential:
        return nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3, affine=False)))

    network = nn.ModuleDict({"trunk": head(), "head": head()})
    set_training_mode(network)
    assert all(module.training for module in network.modules())
    freeze_except(network, ["head.*"])
    set_training_mode(network)
    frozen = [name for name, module in network.named_modules() if not module.training]
    assert frozen == ["trunk.1.0"]


def test_names_are_returned_in_order_and_patterns_can_be_changed_later() -> None:
    network = network_of(1)
    assert freeze_except(network, ["backbone.linear*", "backbone.conv1*"]) == [
        "backbone.conv1.weight",
        "backbone.linear.weight",
    ]
    everything = [name for name, _ in network.named_parameters()]
    assert freeze_except(network, ["*"]) == everything
    assert all(weight.requires_grad for weight in network.parameters())


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([], "no parameter is left to train"),
        (["*linear*", "backbone.linaer*"], r"'backbone\.linaer\*' fits none .* near are backbone\.linears\.\*"),
        (["*.running_mean"], r"'\*\.running_mean' fits none"),
    ],
)
def test_patterns_that_leave_or_fit_nothing_are_refused(patterns: list[str], message: str) -> None:
    network = network_of()
    with pytest.raises(ValueError, match=message):
        freeze_except(network, patterns)
    assert all(weight.requires_grad for weight in network.parameters())
