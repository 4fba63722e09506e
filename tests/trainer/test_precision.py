"""Precisions: what is computed in which, what never leaves float32, and what a continued run takes up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from base import Step
from model.classifiers import CosineClassifier
from model.losses.bs_expert import BSExpertLoss
from model.losses.cross_entropy import CrossEntropyLoss
from tests.trainer.small_runs import CPU, TINY, run, small_config, small_trainer
from trainer.config.run_config import find_problems
from trainer.engine.precision import Precision, faster_precision, fastest_safe, slow_precision
from trainer.trainer import Trainer

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
HALF = {"bf16", "fp16"}


def tiny_trainer(folder: Path, precision: str, **changes: Any) -> Trainer:
    return small_trainer(folder, small_config(**TINY, trainer__precision=precision, **changes))


# -- what is computed in what -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.usefixtures("_quick")
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
@pytest.mark.usefixtures("_quick")
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
        ({"amx_bf16": False, "avx512_bf16": True}, "bf16"),
        ({"architecture": "aarch64", "bf16": True}, "tf32"),
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
    assert faster_precision(name, CPU) == (name if advice is None else advice.removesuffix(" there").split()[-1])
    assert slow_precision(name, torch.device("cuda")) is None
    assert faster_precision(name, torch.device("cuda")) == name


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
