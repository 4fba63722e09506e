"""All ways of computing the experts' convolutions give the same; which there are; and what is told of their times."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from base.trainer_options import PrecisionName
from benchmarks import experts_together
from benchmarks.cifar_run import RECIPE
from benchmarks.expert_convolutions import (
    DIAGONAL,
    GROUPED,
    SEPARATE,
    STREAMS,
    WIDE,
    Layer,
    Values,
    block_diagonal,
    passes,
    random_values,
    ways_of,
)
from benchmarks.experts_together import FASTEST, IMAGENET, Times, layers_of_recipe, measured, report, whole
from tests.scripts.command_line import ROOT
from trainer.engine.precision import Precision
from utils.errors import UserError

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
LAYERS = {
    "later": Layer(3, 8, 8, 3, 1, 1, 1, batch=4, side=12, shared=False),
    "where the shared part ends": Layer(3, 8, 16, 3, 2, 1, 1, batch=4, side=7, shared=True),
    "1×1": Layer(2, 8, 4, 1, 2, 0, 1, batch=4, side=6, shared=False),
    "grouped by itself": Layer(2, 8, 8, 3, 1, 1, 4, batch=4, side=6, shared=False),
}


def expected_of(layer: Layer, values: Values) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs [B, O, H', W'] of each expert; gradients of images, then of weights: in float64, one after the other."""
    images = [each.detach().double().requires_grad_() for each in values.images]
    weights = [each.weight.detach().double().requires_grad_() for each in values.convolutions]
    geometry: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
    of_each = images * layer.experts if layer.shared else images
    outputs = [F.conv2d(x, weight, **geometry) for x, weight in zip(of_each, weights, strict=True)]
    return outputs, list(torch.autograd.grad(outputs, [*images, *weights], [each.double() for each in values.grads]))


def of_each(tensors: Sequence[Tensor], count: int) -> list[Tensor]:
    """Several as they are, one that holds `count` side by side taken apart."""
    return list(tensors[0].chunk(count, dim=1)) if len(tensors) == 1 else list(tensors)


def distance(found: Tensor, wanted: Tensor) -> float:
    """Relative to the wanted one's length."""
    assert found.shape == wanted.shape
    return float(((found.double() - wanted).norm() / wanted.norm()).detach())


def check(layer: Layer, device: torch.device, way: str, precision: PrecisionName, streams: Sequence[Any] = ()) -> None:
    torch.manual_seed(0)
    half = precision == "bf16"
    values = random_values(layer, dtype=torch.bfloat16 if half else torch.float32, device=device)
    autocast: Callable[[], AbstractContextManager[Any]] = Precision(precision, device).autocast
    run = passes(ways_of(layer, values.convolutions, streams)[way], values, autocast)
    outputs, gradients = run()
    if streams:
        torch.cuda.synchronize()
    num_images = len(gradients) - layer.experts
    images = of_each(gradients[:num_images], 1 if layer.shared else layer.experts)
    wanted_outputs, wanted_gradients = expected_of(layer, values)
    found = [*of_each(outputs, layer.experts), *images, *gradients[num_images:]]
    wanted = [*wanted_outputs, *wanted_gradients]
    assert all(each.dtype == torch.float32 for each in gradients[num_images:]), "the weights' own"
    distances = [distance(a, b) for a, b in zip(found, wanted, strict=True)]
    assert max(distances) < (1e-2 if half else 1e-5), distances  # bf16: 8 bits of a weight, an image and a sum


CASES = [(name, way) for name, layer in LAYERS.items() for way in ways_of(layer, [layer.convolution()])]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "way"), CASES)
def test_outputs_and_gradients_are_those_of_float64_one_after_the_other(
    name: str, way: str, precision: PrecisionName
) -> None:
    check(LAYERS[name], CPU, way, precision)


def test_each_layer_has_the_ways_that_suit_it() -> None:
    ways = {name: set(ways_of(layer, [layer.convolution()])) for name, layer in LAYERS.items()}
    assert ways == {
        "later": {SEPARATE, GROUPED, DIAGONAL},
        "where the shared part ends": {SEPARATE, GROUPED, WIDE, DIAGONAL},
        "1×1": {SEPARATE, GROUPED, DIAGONAL},
        "grouped by itself": {SEPARATE, GROUPED},
    }


class ImaginedStream:
    """Notes who waits for whom."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes

    def wait_stream(self, other: ImaginedStream) -> None:
        self.notes.append(f"{self.name} waits for {other.name}")


@pytest.mark.parametrize("name", LAYERS)
def test_a_stream_waits_for_the_images_and_is_waited_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, notes = LAYERS[name], []
    streams = [ImaginedStream(f"stream {i}", notes) for i in range(layer.experts)]

    def entered(stream: ImaginedStream) -> AbstractContextManager[None]:
        notes.append(f"in {stream.name}")
        return nullcontext()

    monkeypatch.setattr(torch.cuda, "current_stream", lambda: ImaginedStream("main", notes))
    monkeypatch.setattr(torch.cuda, "stream", entered)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    check(layer, CPU, STREAMS, "fp32", streams)
    begun = [(f"stream {i} waits for main", f"in stream {i}") for i in range(layer.experts)]
    ended = [f"main waits for stream {i}" for i in range(layer.experts)]
    assert notes == [*(note for each in begun for note in each), *ended]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "way"), [*CASES, *((name, STREAMS) for name in LAYERS)])
def test_on_a_gpu_they_are_the_same(
    name: str, way: str, precision: PrecisionName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    streams = [torch.cuda.Stream(GPU) for _ in range(LAYERS[name].experts)]
    check(LAYERS[name], GPU, way, precision, streams)


def test_a_block_diagonal_weight_has_zeros_between_experts() -> None:
    first, second = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]])
    joined = block_diagonal([first[:, :, None, None], second[:, :, None, None]])
    assert joined[:, :, 0, 0].tolist() == [[1, 0], [2, 0], [0, 3], [0, 4]]


def test_the_layers_of_resnet_32_are_those_of_its_second_and_third_stage() -> None:
    layers = layers_of_recipe(ROOT / RECIPE)
    assert {str(layer): count for layer, count in layers.items()} == {
        "16→32, 3×3/2, 32²": 1,
        "32→32, 3×3, 16²": 9,
        "32→64, 3×3/2, 16²": 1,
        "64→64, 3×3, 8²": 9,
    }
    assert [layer.shared for layer in layers] == [True, False, False, False]
    assert {(layer.experts, layer.batch, layer.padding, layer.groups) for layer in layers} == {(3, 128, 1, 1)}


@pytest.mark.parametrize(
    ("recipe", "groups"), list(zip(IMAGENET, (1, 32), strict=True)), ids=["ResNet-50", "ResNeXt-50"]
)
def test_the_imagenet_networks_have_their_last_two_stages(recipe: Path, groups: int) -> None:
    layers = layers_of_recipe(ROOT / recipe)
    per_kernel = Counter({1: 0, 3: 0})
    for layer, count in layers.items():
        per_kernel[layer.kernel] += count
    assert per_kernel == {3: 6 + 3, 1: 2 * (6 + 3) + 2}, "bottlenecks, and a projection in each stage"
    inner, after = (256, 1024) if groups == 1 else (512, 1024)
    shared = {str(layer) for layer in layers if layer.shared}
    assert shared == {f"512→{inner}, 1×1, 28²", f"512→{after}, 1×1/2, 28²"}, "what follows the shared second stage"
    assert {layer.groups for layer in layers if layer.kernel == 3} == {groups}
    assert {layer.batch for layer in layers} == {32}, "64 on two GPUs"


def test_ways_take_turns_and_the_first_passes_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[tuple[str, int]] = []

    def noted(way: str, *_: Any) -> Callable[[], None]:
        return lambda: order.append((way, len(order)))

    seconds = iter([9.0, 9.0, 0.025, 0.2, 1.0, 2.0, 3.0, 4.0])  # twice before, then two rounds

    def timed(run: Callable[[], None], _: torch.device, repeats: int = 1) -> float:
        run()
        repeated.append(repeats)
        return next(seconds)

    repeated: list[int] = []
    monkeypatch.setattr(experts_together, "ways_of", lambda *_: {"a": "a", "b": "b"})
    monkeypatch.setattr(experts_together, "passes", noted)
    monkeypatch.setattr(experts_together, "seconds_of", timed)
    shares = iter([0.9, 0.8])
    monkeypatch.setattr(experts_together, "matrix_rate", lambda _: (1.0, next(shares)))
    found = measured(LAYERS["later"], 9, precision=Precision("fp32", CPU), rounds=2)
    assert [way for way, _ in order] == ["a", "b"] * 4
    assert repeated[4:] == [2, 1, 2, 1], "as often as 0.05 s has room for, once at least"
    assert found.seconds == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
    assert (found.count, found.quiet) == (9, 0.8)


ONE = Times("one", 2, {SEPARATE: [1.0, 2.0, 3.0], GROUPED: [2.0, 2.0, 2.0], WIDE: [1.0, 1.0, 1.0]}, 0.9)
TWO = Times("two", 1, {SEPARATE: [1.0, 1.0, 1.0], GROUPED: [4.0, 4.0, 4.0]}, 0.7)


def test_the_whole_has_each_layer_as_often_as_it_is_there() -> None:
    found = whole([ONE, TWO])
    assert found.quiet == 0.7
    assert found.seconds == {
        SEPARATE: [3.0, 5.0, 7.0],
        GROUPED: [8.0, 8.0, 8.0],
        FASTEST: [3.0, 3.0, 3.0],  # wide, and one after the other
    }


def test_the_table_and_the_file_have_medians_and_the_ratio_of_each_round() -> None:
    header, _, *lines = report(Path("x/name.json"), "fp32", [ONE]).splitlines()[1:]
    assert header.split() == ["layer", "times", "way", "ms", "ratio", "range"]
    assert [line.split()[-3:] for line in lines] == [
        ["2e+03", "1.00", "1.00–1.00"],
        ["2e+03", "1.00", "0.50–1.50"],
        ["1e+03", "2.00", "1.00–3.00"],
    ]
    assert ONE.as_json() == {
        "title": "one",
        "count": 2,
        "milliseconds": {SEPARATE: 2000, GROUPED: 2000, WIDE: 1000},
        "ratio": {GROUPED: 1, WIDE: 2},
        "ratio_range": {GROUPED: [0.5, 1.5], WIDE: [1, 3]},
        "share_of_threads_time": 0.9,
        "seconds": ONE.seconds,
    }


def test_the_command_writes_every_precision_of_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.json"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(experts_together, "layers_of_recipe", lambda _: {LAYERS["later"]: 9})
    monkeypatch.setattr(experts_together, "matrix_rate", lambda _: (1.0, 0.4))
    monkeypatch.setattr(experts_together, "_SECONDS", 0.0)
    flags = ["--precision", "fp32", "bf16", "--rounds", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["experts_together", *flags])
    experts_together.main()
    content = json.loads(out.read_text(encoding="utf8"))
    assert [(each["recipe"], each["precision"]) for each in content["results"]] == [
        (RECIPE.as_posix(), "fp32"),
        (RECIPE.as_posix(), "bf16"),
    ]
    for each in content["results"]:
        assert [layer["title"] for layer in each["layers"]] == ["8→8, 3×3, 12²", "all"]
        assert {len(seconds) for layer in each["layers"] for seconds in layer["seconds"].values()} == {2}
    assert content["machine"]["processor"]
    told = capsys.readouterr().out
    assert "warning: a busy machine: 40 % of the threads' time was ours" in told


def test_a_recipe_of_one_expert_is_refused_in_one_line(tmp_path: Path) -> None:
    config = json.loads((ROOT / RECIPE).read_text(encoding="utf8"))
    config["arch"]["args"]["num_experts"] = 1
    path = tmp_path / "one.json"
    path.write_text(json.dumps(config), encoding="utf8")
    with pytest.raises(UserError, match=r"^.*one\.json: no expert has convolutions of its own here; .*$") as told:
        layers_of_recipe(path)
    assert told.value.exit_code == 2
