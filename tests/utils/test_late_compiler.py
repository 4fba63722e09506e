"""PyTorch's compiler isn't imported by its optimisers, and is there where somebody asks for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.scripts.command_line import ROOT

PROGRAM = """
import json, sys, types
import torch
{before}
def stepped(kind, **options):
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 7))
    optimizer = kind([weight], lr=0.1, **options)
    for factor in (1, 2, 3):
        optimizer.zero_grad()
        (factor * weight.sin()).sum().backward()
        optimizer.step()
    kind([weight]).load_state_dict(optimizer.state_dict())
    return weight.tolist()

optim = torch.optim
found = {{"weights": [stepped(optim.SGD, momentum=0.9, nesterov=True), stepped(optim.AdamW), stepped(optim.RMSprop)]}}
for module in list(sys.modules.values()):
    getattr(module, "__file__", None)  # as Python's own tools do
found["imported by then"] = "torch._dynamo.eval_frame" in sys.modules
{after}
found["imported at last"] = "torch._dynamo.eval_frame" in sys.modules
found["the real one"] = type(sys.modules["torch._dynamo"]) is types.ModuleType
print(json.dumps(found))
"""
LATE = "from utils.late_compiler import import_compiler_late; import_compiler_late()"
USES = {
    "compiling": "found['compiled'] = torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).tolist() == [2.0]",
    "a module of it": "import torch._dynamo.config; found['compiled'] = torch._dynamo.config.cache_size_limit > 0",
}


def run(before: str, after: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before, after=after)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def as_pytorch_does() -> dict[str, object]:
    """With the compiler imported first: what makes it later leaves it alone."""
    return run(f"import torch._dynamo; {LATE}", "")


@pytest.mark.parametrize("use", USES)
def test_optimisers_take_the_same_steps_without_it_and_it_comes_when_asked_for(
    use: str, as_pytorch_does: dict[str, object]
) -> None:
    assert as_pytorch_does["imported by then"]
    assert as_pytorch_does["the real one"]
    expected = {
        "weights": as_pytorch_does["weights"],
        "imported by then": False,
        "compiled": True,
        "imported at last": True,
        "the real one": True,
    }
    assert run(LATE, USES[use]) == expected
