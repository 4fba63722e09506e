"""Update rules against updates worked out by hand, and what they leave alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from trainer.engine.engine import StepMeasures
from trainer.engine.precision import Precision
from trainer.engine.update_rules.base import UpdateRule
from trainer.engine.update_rules.descent import Descent
from trainer.engine.update_rules.sam import SAM

FP32 = Precision("fp32", torch.device("cpu"))


class Network(nn.Module):
    """Weights w, a statistic that counts forward passes, and a second weight that takes no part."""

    counted: Tensor

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(weights, dtype=torch.float64))
        self.unused = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.register_buffer("counted", torch.zeros(()))


def gradients_of(
    network: Network, loss: Callable[[Tensor], Tensor], seen: list[list[float]]
) -> Callable[..., StepMeasures]:
    def compute(*, synchronised: bool = True) -> StepMeasures:
        network.zero_grad()
        network.counted += 1
        seen.append(network.w.tolist())
        value = loss(network.w)
        value.backward()
        return StepMeasures(value.detach(), [({"loss": value.detach()}, 1)])

    return compute


def half_square(w: Tensor) -> Tensor:
    return 0.5 * (w**2).sum()


def step(
    rule: type[UpdateRule], network: Network, *, finite: bool = True, **options: float
) -> tuple[StepMeasures | None, list[list[float]]]:
    seen: list[list[float]] = []
    update = rule(SGD(network.parameters(), lr=0.1), FP32, network, **options)
    return update(gradients_of(network, half_square, seen), lambda measures: finite), seen


def test_descent_goes_along_the_gradient_once() -> None:
    network = Network(3.0, 4.0)
    measures, seen = step(Descent, network)
    assert seen == [[3.0, 4.0]]
    assert network.w.tolist() == pytest.approx([2.7, 3.6])
    assert measures is not None
    assert measures.loss.item() == 12.5


def test_sam_takes_the_gradient_at_the_top_of_its_radius() -> None:
    """w = (3, 4): g/‖g‖ = (0.6, 0.8), climbed with ρ = 0.5 to (3.3, 4.4), whose gradient is itself."""
    network = Network(3.0, 4.0)
    measures, seen = step(SAM, network, rho=0.5)
    assert seen[0] == [3.0, 4.0]
    assert seen[1] == pytest.approx([3.3, 4.4])
    assert network.w.tolist() == pytest.approx([3 - 0.33, 4 - 0.44])
    assert measures is not None
    assert measures.loss.item() == 12.5, "recorded is the loss at the weights themselves"


def test_sam_climbs_as_far_in_a_large_network() -> None:
    """A million gradients of 0.001 are 1 long; as one vector PyTorch would find 0.9994 on a CPU."""
    network = nn.ParameterList([nn.Parameter(torch.zeros(50_000)) for _ in range(20)])
    climbed: list[float] = []

    def compute(*, synchronised: bool = True) -> StepMeasures:
        network.zero_grad()
        climbed.append(sum(w.detach().double().square().sum().item() for w in network) ** 0.5)
        value = torch.stack([0.001 * w.sum() for w in network]).sum()
        value.backward()
        return StepMeasures(value.detach(), [({"loss": value.detach()}, 1)])

    SAM(SGD(network.parameters(), lr=0.1), FP32, network, rho=0.5)(compute, lambda measures: True)
    assert climbed == pytest.approx([0, 0.5], rel=1e-4)


def test_sam_with_a_tiny_radius_is_descent() -> None:
    near, plain = Network(3.0, 4.0), Network(3.0, 4.0)
    step(SAM, near, rho=1e-12)
    step(Descent, plain)
    torch.testing.assert_close(near.w, plain.w, rtol=1e-10, atol=0)


def test_sams_first_pass_moves_no_statistics() -> None:
    network = Network(1.0)
    step(SAM, network)
    assert network.counted.item() == 1


def test_sam_stays_where_there_is_no_slope() -> None:
    network = Network(0.0, 0.0)
    _, seen = step(SAM, network)
    assert seen == [[0.0, 0.0], [0.0, 0.0]]
    assert network.w.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("rule", [Descent, SAM])
def test_a_skipped_step_leaves_the_weights_to_the_bit(rule: type[UpdateRule]) -> None:
    network = Network(0.1, 0.7)
    before = network.w.detach().clone()
    measures, _ = step(rule, network, finite=False)
    assert measures is None
    assert torch.equal(network.w, before)


def test_an_overflow_of_the_first_pass_never_reaches_the_weights() -> None:
    network = Network(0.5)
    calls = iter([torch.inf, 1.0])
    seen: list[list[float]] = []
    update = SAM(SGD(network.parameters(), lr=0.1), FP32, network)
    measures = update(gradients_of(network, lambda w: next(calls) * w.sum(), seen), lambda measures: True)
    assert seen == [[0.5], [0.5]]
    assert measures is not None
    assert network.w.item() == pytest.approx(0.4)
