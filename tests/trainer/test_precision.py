"""Precisions: what is computed in which, what never leaves float32, and what a continued run takes up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import model.model as networks
from base import Step
from model.classifiers import CosineClassifier
from model.losses.bs_expert import BSExpertLoss
from model.losses.cross_entropy import CrossEntropyLoss
from tests.trainer.small_runs import CPU, run, small_config, small_trainer
from tests.trainer.test_continuation import assert_same_runs, run_with_stops
from trainer.config.run_config import find_problems
from trainer.engine.precision import Precision, fastest_safe, slow_precision
from trainer.trainer import Trainer
from utils.files.checkpoint import load_checkpoint

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
HALF = {"bf16", "fp16"}

# fp16's convolutions have no fast gradient on CPUs: 20 images, batches of 8, 8 and 4
TINY = {
    "arch__args__layer2_output_dim": 8,
    "arch__args__layer3_output_dim": 8,
    "data_loader__args__max_per_class": 6,
    "data_loader__args__batch_size": 8,
}


@pytest.fixture(autouse=True)
def _convolutions_as_they_were() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def _shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block of eight channels a stage."""
    monkeypatch.setattr(
        networks.ResNet32Model, "architecture", replace(networks.CIFAR, blocks=(1, 1, 1), widths=(8, 8, 8))
    )


def tiny_trainer(folder: Path, precision: str, **changes: Any) -> Trainer:
    return small_trainer(folder, small_config(**TINY, trainer__precision=precision, **changes))


# -- what is computed in what -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.usefixtures("_shallow")
def test_convolutions_run_in_the_precision_and_everything_from_the_classifier_on_in_float32(
    tmp_path: Path, precision: str
) -> None:
    """In training and in validation alike; weights, gradients and momentum stay float32 too."""
    trainer = tiny_trainer(tmp_path, precision, trainer__epochs=1, trainer__validate=True)
    found: dict[tuple[str, bool], set[torch.dtype]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.setdefault((type(module).__name__, trainer.method.network.training), set()).add(output.dtype)

    for module in trainer.method.network.modules():
        if isinstance(module, nn.Conv2d | CosineClassifier):
            module.register_forward_hook(note)
    criterion_saw: set[torch.dtype] = set()

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        output, _, extra_info = args
        criterion_saw.update({output.dtype, extra_info["logits"].dtype})

    trainer.method.criterion.register_forward_pre_hook(look, with_kwargs=True)
    trainer.train()
    for training in (True, False):
        assert found["Conv2d", training] == {DTYPES[precision]}
        assert found["CosineClassifier", training] == {torch.float32}
    assert criterion_saw == {torch.float32}
    kept = [*trainer.method.network.parameters(), *(weight.grad for weight in trainer.method.network.parameters())]
    kept += [state["momentum_buffer"] for state in trainer.optimizer.state.values()]
    assert {tensor.dtype for tensor in kept if tensor is not None} == {torch.float32}


@pytest.mark.parametrize("precision", sorted(HALF))
@pytest.mark.usefixtures("_shallow")
def test_a_linear_classifiers_logits_reach_mixing_and_loss_in_float32(tmp_path: Path, precision: str) -> None:
    """They come in half precision; their mean over experts is taken afterwards."""
    trainer = tiny_trainer(
        tmp_path, precision, arch__args__use_norm=False, combiner__mixup__target_mix_strategy="mix_logits"
    )
    came: set[torch.dtype] = set()
    trainer.method.network.register_forward_hook(lambda module, inputs, answer: came.add(answer["logits"].dtype))
    saw: set[torch.dtype] = set()
    trainer.method.criterion.register_forward_pre_hook(
        lambda module, args: saw.update({args[0].dtype, args[2]["logits"].dtype})
    )
    trainer.train_step({"train": next(trainer.loaders["train"].epoch(1))}, Step(1, 0))
    trainer.recorder.close()
    assert came == {DTYPES[precision]}
    assert saw == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_cosine_classifier_is_exact_under_autocast(dtype: torch.dtype) -> None:
    """Against float64: half precision of logits near 30 would be off by 1/16 (bf16) or 1/128 (fp16)."""
    torch.manual_seed(0)
    classifier = CosineClassifier(64, 100, scale=30.0)
    features = torch.randn(32, 64).to(dtype)
    classifier.weight.data[:, 0] = features[0].float()  # one logit is s itself
    with torch.autocast("cpu", dtype=dtype):
        logits = classifier(features).detach()
    assert logits.dtype == torch.float32
    assert torch.equal(logits, classifier(features.float())), "autocast changes no bit"
    x, w = features.double(), classifier.weight.detach().double()
    expected = 30 * (x / x.norm(dim=1, keepdim=True)) @ (w / w.norm(dim=0))
    assert float(expected[0, 0]) == pytest.approx(30)
    assert (logits - expected).abs().max() < 2e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_loss_of_half_precision_logits_is_that_of_the_same_numbers_in_float64(dtype: torch.dtype) -> None:
    """Under autocast too; the log-prior reaches from log(0.93) to log(1e-9)."""
    counts, taus = [5000, 300, 40, 7, 0], [-1.0, 1.0, 3.0]
    random = torch.Generator().manual_seed(2)
    logits = (10 * torch.randn(3, 16, 5, generator=random)).to(dtype)  # [E, B, C]
    targets = torch.randint(4, (16,), generator=random)
    prior = np.array(counts) / sum(counts)
    expected = []
    for tau, z in zip(taus, logits.double().numpy(), strict=True):
        adjusted = z + tau * np.log(prior + 1e-9)
        log_sum = np.log(np.exp(adjusted - adjusted.max(1, keepdims=True)).sum(1)) + adjusted.max(1)
        expected.append((log_sum - adjusted[np.arange(16), targets.numpy()]).mean())
    with torch.autocast("cpu", dtype=dtype):
        loss, by_expert = BSExpertLoss(counts, taus)(logits.mean(0), targets, {"logits": logits}, True)
        plain = CrossEntropyLoss()(logits[0], targets)
    assert loss.dtype == plain.dtype == torch.float32
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-6)
    assert [float(value) for value in by_expert.values()] == pytest.approx(expected, rel=1e-6)
    z = logits[0].double().numpy()
    by_hand = (np.log(np.exp(z).sum(1)) - z[np.arange(16), targets.numpy()]).mean()
    assert float(plain) == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize(("name", "setting"), [("fp32", False), ("tf32", True), ("bf16", True), ("fp16", True)])
def test_convolutions_on_gpus_are_told_whether_tf32_will_do(tmp_path: Path, name: str, setting: bool) -> None:
    torch.backends.cudnn.allow_tf32 = not setting
    trainer = small_trainer(tmp_path, small_config(trainer__precision=name))
    trainer.recorder.close()
    assert torch.backends.cudnn.allow_tf32 is setting


def test_tf32_is_what_a_configuration_without_the_key_gets(tmp_path: Path) -> None:
    """PyTorch's own default, which published runs had."""
    trainer = small_trainer(tmp_path, small_config())
    trainer.recorder.close()
    assert trainer.engine.precision.name == "tf32"


# -- "auto" -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "bf16"),
        ({"amx_bf16": False, "avx512_bf16": True}, "tf32"),
        ({}, "tf32"),
    ],
)
def test_auto_on_a_cpu_is_bf16_where_it_has_units_for_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, Any], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert fastest_safe(CPU) == expected
    assert Precision("auto", CPU).name == expected


@pytest.mark.parametrize(
    ("name", "capabilities", "advice"),
    [
        ("bf16", {"amx_bf16": True}, None),
        ("bf16", {"amx_bf16": False, "avx512_bf16": True}, None),
        ("bf16", {"architecture": "aarch64", "bf16": True}, None),
        ("bf16", {"avx2": True}, "bf16 is slow on this processor, which has no units for it; use fp32"),
        ("fp16", {"avx512_bf16": True}, "fp16 is very slow on a CPU; use bf16 there"),
        ("fp16", {"avx2": True}, "fp16 is very slow on a CPU; use fp32 there"),
        ("fp32", {}, None),
        ("auto", {}, None),
    ],
)
def test_a_precision_that_a_processor_has_no_units_for_gets_advice(
    monkeypatch: pytest.MonkeyPatch, name: Any, capabilities: dict[str, Any], advice: str | None
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert slow_precision(name, CPU) == advice
    assert slow_precision(name, torch.device("cuda")) is None


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 0), "tf32"), ((7, 5), "tf32"), ((8, 0), "bf16"), ((8, 9), "bf16"), ((9, 0), "bf16")],
)
def test_auto_on_a_gpu_is_bf16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str
) -> None:
    asked = []

    def answer(device: torch.device) -> tuple[int, int]:
        asked.append(device)
        return capability

    monkeypatch.setattr(torch.cuda, "get_device_capability", answer)
    assert fastest_safe(torch.device("cuda", 3)) == expected
    assert asked == [torch.device("cuda", 3)], "of the device that is used, not of the first"


# -- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fp8", "float32", "BF16", "", 16, None, True, ["fp16"]])
def test_an_unknown_precision_is_one_line_that_names_the_choices(name: Any) -> None:
    (line,) = map(str, find_problems(small_config(trainer__precision=name)))
    assert line.startswith("trainer.precision: ")
    assert all(choice in line for choice in ("fp32", "tf32", "bf16", "fp16", "auto"))


@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16", "fp16", "auto"])
def test_the_known_precisions_are_accepted(name: str) -> None:
    assert find_problems(small_config(trainer__precision=name)) == []


# -- fp16's loss scale ------------------------------------------------------------------------------------------------


def scale_of(trainer: Trainer) -> float:
    return trainer.engine.precision.state_dict()["scale"]


@pytest.mark.usefixtures("_shallow")
def test_a_step_whose_gradients_overflow_leaves_the_weights_and_halves_the_scale(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, "fp16")
    trainer.engine.precision.load_state_dict({**trainer.engine.precision.state_dict(), "scale": 2.0**40})
    before = {name: weight.clone() for name, weight in trainer.method.network.named_parameters()}
    batch = next(trainer.loaders["train"].epoch(1))
    trainer.train_step({"train": batch}, Step(1, 0))
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.method.network.named_parameters())
    assert not any(state for state in trainer.optimizer.state.values()), "momentum either"
    assert scale_of(trainer) == 2.0**39
    trainer.engine.precision.load_state_dict({**trainer.engine.precision.state_dict(), "scale": 2.0**8})
    trainer.train_step({"train": batch}, Step(1, 0))
    trainer.recorder.close()
    assert scale_of(trainer) == 2.0**8
    changed = [
        name for name, weight in trainer.method.network.named_parameters() if not torch.equal(weight, before[name])
    ]
    assert changed == list(before)


def first_update(folder: Path, precision: str, *, scale: float | None = None) -> Tensor:
    """What the first step adds to the weights, in one vector."""
    trainer = tiny_trainer(folder, precision)
    if scale is not None:
        trainer.engine.precision.load_state_dict({**trainer.engine.precision.state_dict(), "scale": scale})
    before = [weight.detach().clone() for weight in trainer.method.network.parameters()]
    trainer.train_step({"train": next(trainer.loaders["train"].epoch(1))}, Step(1, 0))
    trainer.recorder.close()
    return torch.cat(
        [(new - old).flatten() for new, old in zip(trainer.method.network.parameters(), before, strict=True)]
    ).detach()


@pytest.mark.usefixtures("_shallow")
def test_an_update_in_half_precision_is_that_of_float32_but_for_rounding(tmp_path: Path) -> None:
    """Whatever fp16's scale: it is divided out again."""
    exact = first_update(tmp_path / "fp32", "fp32")
    bf16 = first_update(tmp_path / "bf16", "bf16")
    low, high = (first_update(tmp_path / str(scale), "fp16", scale=scale) for scale in (2.0**5, 2.0**10))
    assert 0 < (bf16 - exact).norm() < 0.25 * exact.norm()
    assert 0 < (low - exact).norm() < 0.08 * exact.norm()
    assert (low - high).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.usefixtures("_shallow")
def test_a_run_stopped_after_any_step_and_continued_ends_with_the_same_bits(tmp_path: Path, precision: str) -> None:
    """fp16 begins with a scale that is too large, so that it changes within the run."""
    config = small_config(**TINY, trainer__precision=precision)
    whole = run(tmp_path / "whole", config)
    assert run_with_stops(tmp_path / "parts", config, {(0, 1, 0), (0, 3, 0), (1, 2, 0)}) == 4
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")
    if precision == "bf16":
        assert whole["precision"] == {}
    else:
        assert whole["precision"]["scale"] < 2.0**16
        assert whole["precision"]["_growth_tracker"] > 0


@pytest.mark.usefixtures("_shallow")
def test_an_epoch_without_an_update_warns_of_nothing(tmp_path: Path) -> None:
    """One step, which overflows: nothing for the user to put in order."""
    config = small_config(**{**TINY, "data_loader__args__batch_size": 20}, trainer__precision="fp16")
    trainer = small_trainer(tmp_path, config)
    trainer.train()
    assert [line["lr"] for line in trainer.state.history] == pytest.approx([0.05, 0.005])


@pytest.mark.usefixtures("_shallow")
def test_the_scale_in_the_checkpoint_is_taken_up(tmp_path: Path) -> None:
    """Else the test above would pass with a scale that never counts."""
    config = small_config(**TINY, trainer__precision="fp16")
    trainer = small_trainer(tmp_path, config)
    trainer.engine.precision.load_state_dict(
        {**trainer.engine.precision.state_dict(), "scale": 48.0, "_growth_tracker": 7}
    )
    path = trainer.save("checkpoint-epoch0-step0.pth")
    trainer.recorder.close()
    content = load_checkpoint(path)["precision"]
    assert (content["scale"], content["_growth_tracker"]) == (48.0, 7)
    continued = small_trainer(tmp_path, config, resume=path)
    continued.recorder.close()
    assert continued.engine.precision.state_dict() == content
    loss = torch.tensor(2.0, requires_grad=True)
    continued.engine.precision.backward(3 * loss)
    assert loss.grad == 3 * 48


@pytest.mark.parametrize(("old", "new"), [("fp16", "bf16"), ("fp16", "fp32"), ("bf16", "fp16"), ("tf32", "fp16")])
@pytest.mark.usefixtures("_shallow")
def test_a_run_continued_in_another_precision_begins_with_a_fresh_scale(tmp_path: Path, old: str, new: str) -> None:
    trainer = tiny_trainer(tmp_path, old)
    if old == "fp16":
        state = trainer.engine.precision.state_dict()
        trainer.engine.precision.load_state_dict({**state, "scale": 48.0})
    path = trainer.save("checkpoint-epoch0-step0.pth")
    trainer.recorder.close()
    config = small_config(**TINY, trainer__precision=new)
    continued = small_trainer(tmp_path, config, resume=path)
    continued.recorder.close()
    state = continued.engine.precision.state_dict()
    assert state == ({} if new != "fp16" else torch.amp.GradScaler("cpu").state_dict())


# -- whole runs -------------------------------------------------------------------------------------------------------


def test_a_run_in_bf16_learns_what_one_in_float32_learns(tmp_path: Path) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        config = small_config(
            trainer__precision=precision,
            trainer__epochs=4,
            optimizer__args__lr=0.002,  # so slow that rounding has no time to send the two apart
            lr_scheduler__args={"step1": 9, "step2": 9},
        )
        history = run(tmp_path / precision, config)["progress"]["history"]
        losses[precision] = [line["loss"] for line in history]
    assert np.isfinite(losses["bf16"]).all()
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.03)
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"][-1] < 0.6 * losses["bf16"][0]


def test_tf32_and_fp32_are_the_same_on_a_cpu(tmp_path: Path) -> None:
    first = run(tmp_path / "a", small_config(trainer__epochs=1, trainer__precision="fp32"))
    second = run(tmp_path / "b", small_config(trainer__epochs=1, trainer__precision="tf32"))
    assert all(torch.equal(value, second["state_dict"][name]) for name, value in first["state_dict"].items())
