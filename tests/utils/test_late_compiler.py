"""PyTorch's compiler isn't imported by its optimisers, and is there where somebody asks for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.scripts.command_line import ROOT
from utils.late_compiler import _Utilities

PROGRAM = """
import json, sys
import torch
{before}
def stepped(kind, **options):
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 7))
    optimizer = kind([weight], lr=0.1, **options)
    for factor in (1, 2, 3):
        optimizer.zero_grad()
        (factor * weight.sin()).sum().backward()
        optimizer.step()
        seen.add("torch._dynamo" in sys.modules)
    kind([weight]).load_state_dict(optimizer.state_dict())
    return weight.tolist()

seen, optim = set(), torch.optim
found = {{"weights": [stepped(optim.SGD, momentum=0.9, nesterov=True), stepped(optim.AdamW), stepped(optim.RMSprop)]}}
found["imported by then"] = "torch._dynamo.eval_frame" in sys.modules
found["there between steps"] = seen == {{True}}
{after}
stepped(optim.SGD)
print(json.dumps(found))
"""
LATE = "from utils.late_compiler import import_compiler_late; import_compiler_late()"
COMPILING = """
def doubled(x):
    assert torch.compiler.is_compiling()
    return 2 * x
@torch.compiler.disable(recursive=False)
def apart(x):
    assert not torch.compiler.is_compiling()
    return 2 * x
found["compiled"] = [torch.compile(f, backend="aot_eager")(torch.ones(1)).tolist() for f in (doubled, apart)]
"""
SETTING = """
import torch._dynamo.config
torch._dynamo.config.recompile_limit = 77
found["set"] = [torch._dynamo.eval_frame.config.recompile_limit, sys.modules["torch._dynamo"] is torch._dynamo]
"""
TWO_PASSES = """
import json, sys
import torch
import torch.distributed as dist
from utils.late_compiler import without_compiler
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
found = {}
for name, around in (("late", without_compiler), ("plain", torch.enable_grad)):
    torch.manual_seed(1)
    with around():
        network = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 2))
    for _ in range(2):
        with around():
            loss = network(torch.ones(4, 3)).sin().sum()
        loss.backward()
    found[name] = [weight.grad.tolist() for weight in network.parameters()]
    found[name + " imports"] = "torch._dynamo.eval_frame" in sys.modules
found["mode"] = torch._dynamo.utils.get_optimize_ddp_mode()
dist.destroy_process_group()
print(json.dumps(found))
"""
BOXES = """
import json, sys
import torch
from utils.late_compiler import without_compiler
with without_compiler():
    import torchvision
found = {"imported": "torch._dynamo.eval_frame" in sys.modules}
from torchvision.ops import roi_align
found["mean"] = roi_align(torch.ones(1, 1, 8, 8), [torch.tensor([[1.0, 1.0, 5.0, 5.0]])], 2).tolist()
found["asked"] = roi_align.__globals__["is_compile_supported"]("cpu")
found["real"] = torch._dynamo.utils.is_compile_supported("cpu")
print(json.dumps(found))
"""
USES = {COMPILING: {"compiled": [[2.0], [2.0]]}, SETTING: {"set": [77, True]}}


def run(before: str, after: str) -> dict[str, object]:
    return found_by(PROGRAM.format(before=before, after=after))


def found_by(program: str) -> dict[str, object]:
    """What a program prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def weights() -> object:
    """As PyTorch has them, with the compiler imported first, which stays."""
    found = run(f"import torch._dynamo; {LATE}", "")
    assert found["imported by then"]
    assert found["there between steps"]
    return found["weights"]


@pytest.mark.parametrize("use", USES, ids=["compiling", "setting"])
def test_optimisers_take_the_same_steps_without_it_and_it_comes_when_asked_for(use: str, weights: object) -> None:
    plain = {"weights": weights, "imported by then": False, "there between steps": False}
    assert run(LATE, use) == {**plain, **USES[use]}


def test_processes_exchange_the_same_gradients_without_it() -> None:
    found = found_by(TWO_PASSES)
    assert (found["late imports"], found["plain imports"]) == (False, True)
    assert found["late"] == found["plain"]
    assert found["mode"] == _Utilities.get_optimize_ddp_mode()


def test_torchvision_is_imported_without_it_and_works() -> None:
    found = found_by(BOXES)
    assert not found["imported"]
    assert found["mean"] == [[[[1.0, 1.0], [1.0, 1.0]]]]
    assert found["asked"] == found["real"]
