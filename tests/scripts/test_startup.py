"""What needs no PyTorch is said without importing it, which takes seconds; an interrupt meanwhile is quiet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.command_line import EVALUATIONS, ROOT
from tests.trainer.small_runs import small_config
from utils.slow_imports import slow_imports

RECIPE = str(ROOT / "configs/digits/config_digits_ir40_bs-experts.json")
RUN_ALL = """
import runpy, sys
for command in sys.stdin.read().splitlines():
    sys.argv = command.split("|")
    script = sys.argv[0]
    try:
        if script.endswith(".py"):
            runpy.run_path(script, run_name="__main__")
        else:
            runpy.run_module(script, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    print(f"ENDED {code} torch={'torch' in sys.modules}")
"""
COMMANDS = {
    **{f"{script}|--help": 0 for script in ["train.py", *EVALUATIONS]},
    **{f"{script}|--nonsense": 2 for script in ["train.py", *EVALUATIONS]},
    "train.py|--help|nonsense": 2,
    "tools.calibrate|--help": 0,
    "tools.calibrate|nowhere.pth": 2,
    "test.py|-r|x.pth|--calibration|sotred": 2,
    "tools.score|--help": 0,
    "tools.score|x.npy|--kind|logits": 2,
    "tools.score|x.npy|--kind|logits|--home|train": 2,
    "train.py": 2,
    "train.py|-c|nowhere.json": 2,
    "train.py|-r|nowhere.pth": 2,
    "train.py|--images|nowhere": 2,
    f"train.py|-c|{RECIPE}|--sweep|optimizer.args.lr": 2,
    "train.py|-c|nowhere.json|--seed|1|2": 2,
    f"train.py|-c|{RECIPE}|-d|gpu": 2,
    f"train.py|-c|{RECIPE}|--set|trainer": 2,
    f"train.py|-c|{RECIPE}|--lr|{'9' * 5000}": 2,
    "test.py": 2,
    "test.py|-r|nowhere.pth": 2,
    "test_all_cifar.py|-r|x.pth|--distributions|upward2": 2,
    "test_all_cifar.py|-r|x.pth|--distributions|nowhere.csv": 2,
    "tools.estimate|--help": 0,
    "tools.report|--help": 0,
    "tools.summary|--help": 0,
    "tools.runs|--help": 0,
    "tools.runs|data_txt": 2,
    f"tools.estimate|{RECIPE}|--help": 0,
    f"tools.estimate|{RECIPE}|--gpus|0": 2,
    "tools.estimate|nowhere.json": 2,
    "tools.schema|--help": 0,
    "tools.predict|--help": 0,
    "tools.predict|nowhere.pth|a.jpg": 2,
    "tools.prediction_sets|--help": 0,
    "tools.prediction_sets|nowhere.pth": 2,
    "tools.export|--help": 0,
    "tools.export|nowhere.pth|--format|onnx": 2,
    "tools.export|nowhere.pth": 2,
}


def test_help_and_mistakes_outside_the_configuration_need_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input="\n".join(COMMANDS),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    ends = [line for line in done.stdout.splitlines() if line.startswith("ENDED")]
    assert ends == [f"ENDED {code} torch=False" for code in COMMANDS.values()], done.stderr
    assert "Traceback" not in done.stderr


DEAR = [
    "torchvision",
    "pandas",
    "torch._dynamo.eval_frame",
    "sympy",
    "matplotlib",
    "scipy.optimize",
    "scipy.stats",
    "sklearn",
]
TRAINING = """
import contextlib, io, train
with contextlib.redirect_stdout(io.StringIO()):
    sys.argv += ["-c", "small.json", "--save_dir", "."]
    try:
        train.main()
    except SystemExit as ended:
        assert ended.code == 0
"""
EVALUATING = f"""
from pathlib import Path
import trainer.evaluation.commands
from trainer.config.run_config import find_problems
from utils.config.json_files import read_configuration
config, _ = read_configuration(Path("{ROOT}/configs/mixup/standard_training/config_cifar100_ir100_bs-experts.json"))
assert find_problems(config, trained=True) == []
"""
NEEDED_BY_NONE = f"\nprint([name for name in {DEAR} if name in sys.modules])"


@pytest.mark.parametrize("program", [TRAINING, EVALUATING], ids=["train", "evaluate"])
def test_networks_are_trained_and_evaluated_without_the_packages_that_a_run_may_never_need(
    program: str, tmp_path: Path
) -> None:
    """Result files are tables of csv's; an evaluation's configuration is checked without an optimiser."""
    (tmp_path / "small.json").write_text(json.dumps(small_config(trainer__epochs=1)))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}{NEEDED_BY_NONE}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "[]\n"


IMPORTING = """
import os, signal, sys
from utils.slow_imports import slow_imports
{before}
with slow_imports():
    sys.stderr.write("importing")
    sys.stderr.flush()
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("as numpy has it")
    sys.stderr.write(", still here")
os.kill(os.getpid(), signal.SIGINT)
"""


def importing(before: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING.format(before=before)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def test_an_interrupt_while_modules_are_imported_ends_quietly() -> None:
    assert importing() == (130, "importing")


@pytest.mark.parametrize("script", ["train.py", *EVALUATIONS])
def test_so_does_one_while_the_scripts_own_modules_are(script: str) -> None:
    """The finder of modules interrupts, as a user would, when the configuration's parser is looked for."""
    program = f"""
import os, runpy, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "utils.config.parser":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
runpy.run_path("{script}", run_name="__main__")
"""
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' - ; exit $?"],
        input=program,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_whoever_ignores_interrupts_goes_on_ignoring_them() -> None:
    assert importing("signal.signal(signal.SIGINT, signal.SIG_IGN)") == (0, "importing, still here")


def test_after_the_imports_an_interrupt_is_an_exception_again() -> None:
    before = signal.getsignal(signal.SIGINT)
    with slow_imports():
        pass
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_while_modules_are_imported_nothing_looks_for_garbage_and_what_they_made_is_left_alone() -> None:
    program = """
import gc
from utils.slow_imports import slow_imports
with slow_imports():
    print("within", gc.isenabled())
print("after", gc.isenabled(), gc.get_freeze_count() > 0)
frozen = gc.get_freeze_count()
made_since = [[] for _ in range(10_000)]
with slow_imports():
    pass
print("once", gc.get_freeze_count() == frozen)
gc.disable()
with slow_imports():
    pass
print("as it was", gc.isenabled())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["within False", "after True True", "once True", "as it was False"]


def test_at_its_end_a_process_looks_for_no_garbage_and_until_then_it_does() -> None:
    program = """
import atexit, gc
from utils.errors import run_main
atexit.register(lambda: print("at the end", gc.get_freeze_count() > 0))
run_main(lambda: print("within", gc.get_freeze_count() > 0))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["within False", "at the end True"]
