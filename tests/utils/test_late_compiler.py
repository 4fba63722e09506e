"""PyTorch's compiler isn't imported by its optimisers, and is there where somebody asks for it."""

from __future__ import annotations

import json

import pytest

from tests.forks import run_forked
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
        with network._inside_ddp_forward():
            pass
    for _ in range(2):
        network(torch.ones(4, 3)).sin().sum().backward()
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
OWN_RUN = """
import json, os, pathlib, socket, sys, tempfile
import torch
from tests.trainer.small_runs import CPU, make_quick, small_config, small_trainer
from utils.distributed.context import process_group
from utils.distributed.environment import launch_environment
from utils.late_compiler import import_compiler_late
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
import_compiler_late()
make_quick()
with process_group(launch_environment(), CPU) as distributed:
    runner = small_trainer(pathlib.Path(tempfile.mkdtemp()), small_config(trainer__epochs=1), distributed=distributed)
    runner.train()
    exchanging = isinstance(runner.engine._synchronised, torch.nn.parallel.DistributedDataParallel)
print(json.dumps({"exchanging": exchanging, "imported": "torch._dynamo.eval_frame" in sys.modules}))
"""
MORE = """
import pathlib, tempfile
from utils.late_compiler import import_without_compiler
folder = pathlib.Path(tempfile.mkdtemp())
sys.path.insert(0, str(folder))
(folder / "needs_more.py").write_text("import torch._dynamo.eval_frame\\nvalue = 5\\n")
value = import_without_compiler("needs_more").value
"""
DECORATED = """
import json, sys
import torch
from utils.late_compiler import without_compiler
with without_compiler():
    @torch.compiler.disable(recursive=False)
    def doubled(x):
        return 2 * x
    @torch.compiler.disable()
    def tripled(x):
        return 3 * x
print(json.dumps({"doubled": doubled(2), "tripled": tripled(2)}))
"""
USES = {"compiling": {"compiled": [[2.0], [2.0]]}, "setting": {"set": [77, True]}}


PROGRAMS = {
    "imported first": PROGRAM.format(before=f"{MORE}\n{LATE}", after='found["value"] = value'),
    "compiling": PROGRAM.format(before=LATE, after=COMPILING),
    "setting": PROGRAM.format(before=LATE, after=SETTING),
    "two passes": TWO_PASSES,
    "boxes": BOXES,
    "own run": OWN_RUN,
    "decorated": DECORATED,
}


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, object]]:
    """What each program prints, as JSON."""
    ended = dict(zip(PROGRAMS, run_forked(PROGRAMS.values()), strict=True))
    assert [end.err for end in ended.values() if end.code] == []
    return {name: json.loads(end.out) for name, end in ended.items()}


@pytest.mark.parametrize("use", USES)
def test_optimisers_take_the_same_steps_without_it_and_it_comes_when_asked_for(
    use: str, found: dict[str, dict[str, object]]
) -> None:
    first = found["imported first"]
    assert first["imported by then"]
    assert first["there between steps"], "one that is there stays"
    plain = {"weights": first["weights"], "imported by then": False, "there between steps": False}
    assert found[use] == {**plain, **USES[use]}


def test_processes_exchange_the_same_gradients_without_it(found: dict[str, dict[str, object]]) -> None:
    passes = found["two passes"]
    assert (passes["late imports"], passes["plain imports"]) == (False, True)
    assert passes["late"] == passes["plain"]
    assert passes["mode"] == _Utilities.get_optimize_ddp_mode()


def test_torchvision_is_imported_without_it_and_works(found: dict[str, dict[str, object]]) -> None:
    boxes = found["boxes"]
    assert not boxes["imported"]
    assert boxes["mean"] == [[[[1.0, 1.0], [1.0, 1.0]]]]
    assert boxes["asked"] == boxes["real"]


def test_a_run_of_several_processes_does_without_it(found: dict[str, dict[str, object]]) -> None:
    assert found["own run"] == {"exchanging": True, "imported": False}


def test_a_module_that_needs_more_of_it_gets_it(found: dict[str, dict[str, object]]) -> None:
    assert found["imported first"]["value"] == 5
    assert found["decorated"] == {"doubled": 4, "tripled": 6}
