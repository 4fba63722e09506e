"""How long an image's trip is from file to loss: calls of this project's functions in a training step, and their files.

    python benchmarks/image_trip.py
    python benchmarks/image_trip.py --code ../old

One epoch of `train.py` in a process of its own, on the CPU, with a hook (`sys.setprofile`) that sees every call of a
Python function whose file lies in the checkout. The step is recognised by its function's name, `train_step`. Two
spans are counted. "trip": from the end of one `train_step` to the end of the next, so with the batch's way out of
the loader and whatever is done between two steps. "update": from the beginning of `train_step` to its end. "calls"
has lambdas and comprehensions in it, and each resumption of a generator; "files" is the number of different files;
"switches" counts the consecutive calls whose files differ. The median over the steps from the second on counts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import runpy
import statistics
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.tiny_data import write_list_files  # noqa: E402

_STEP = "train_step"
_ONE_EPOCH = ("--epochs", "1", "--save_dir", "saved", "--bs", "32", "--num_experts", "3", "--n_gpu", "1")
CASES = {
    "in memory (digits)": ("digits/config_digits_ir40_bs-experts.json", "--step1", "1", "--step2", "2"),
    "list of PNG files": (
        "mixup/standard_training/config_imagenet_lt_resnet50_bs-experts.json",
        *("--t_max", "1", "--data_dir", "data/images", "--set", "arch.type=ResNet10Model"),
        *("--set", "arch.args.num_classes=10", "--set", "data_loader.args.num_classes=10"),
        *("--set", "data_loader.args.image_size=32", "--set", "data_loader.args.num_workers=0"),
        *(f"--set=data_loader.args.{split}_txt=data/{split}.txt" for split in ("train", "val", "test")),
    ),
}


class Hook:
    """Notes the file of every call of the project's functions, and where steps begin and end in that row."""

    def __init__(self, code: Path) -> None:
        self._root = f"{code}{os.sep}"
        self._within = 0
        self.files: list[str] = []
        self.begins: list[int] = []
        self.ends: list[int] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event not in ("call", "return"):
            return
        file = frame.f_code.co_filename
        if not file.startswith(self._root) or file[len(self._root)] == ".":  # an environment may lie in the checkout
            return
        is_step = frame.f_code.co_name == _STEP
        if event == "return":
            self._within -= is_step
            if is_step and not self._within:
                self.ends.append(len(self.files))
            return
        if is_step and not self._within:
            self.begins.append(len(self.files))
        self._within += is_step
        self.files.append(file)


def numbers(rows: Sequence[Sequence[str]]) -> dict[str, float]:
    """Medians over spans of the row of calls."""
    return {
        "calls": statistics.median(len(row) for row in rows),
        "files": statistics.median(len(set(row)) for row in rows),
        "switches": statistics.median(sum(a != b for a, b in pairwise(row)) for row in rows),
    }


def measure(code: Path, case: str) -> dict[str, Any]:
    """Train one epoch under the hook; to be run in a fresh process."""
    config, *flags = CASES[case]
    hook = Hook(code)
    sys.path[:] = [str(code), *(path for path in sys.path if Path(path).resolve() not in (ROOT, ROOT / "benchmarks"))]
    sys.argv = [str(code / "train.py"), "-c", str(code / "configs" / config), *_ONE_EPOCH, *flags]
    with tempfile.TemporaryDirectory() as folder:
        write_list_files(Path(folder) / "data", train_counts=[40] * 10)
        os.chdir(folder)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            sys.setprofile(hook)
            try:
                runpy.run_path(sys.argv[0], run_name="__main__")
            except SystemExit as ended:
                if ended.code:
                    raise RuntimeError(f"train.py ended with exit code {ended.code}: {said.getvalue()}") from None
            finally:
                sys.setprofile(None)
        os.chdir(ROOT)
    trips = [hook.files[begin:end] for begin, end in pairwise(hook.ends)]
    updates = [hook.files[begin:end] for begin, end in zip(hook.begins[1:], hook.ends[1:], strict=True)]
    if not trips:
        raise RuntimeError(f"no two calls of a function {_STEP} in {code}")
    return {"steps": len(trips), "trip": numbers(trips), "update": numbers(updates)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, default=ROOT, metavar="DIR", help="checkout to run; default: this one")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the numbers here, too")
    options = parser.parse_args()
    if not (options.code / "train.py").is_file():
        parser.error(f"--code {options.code}: holds no train.py")
    os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    results = {}
    for case in CASES:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            results[case] = pool.submit(measure, options.code.resolve(), case).result()
        for span in ("trip", "update"):
            found = ", ".join(f"{value:g} {name}" for name, value in results[case][span].items())
            print(f"{case}, {span}: {found} (median of {results[case]['steps']} steps)", flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
