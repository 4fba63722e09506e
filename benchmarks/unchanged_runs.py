"""Whether the code still trains what it trained: a fixed list of tiny runs, recorded, and later compared to the bit.

Each run takes seconds, on one thread of the CPU, and is started as people start it: `train.py` with flags. Recorded
are a digest of the final weights, the logged history as exact numbers, and what it was computed with; a record
holds for one kind of processor and one version of PyTorch. Nothing of the project is imported here, so `--code` may
name a checkout of any age.

    python benchmarks/unchanged_runs.py --code ../old --out before.json
    python benchmarks/unchanged_runs.py --compare before.json

With `--halfway DIR` the folders of some runs are kept as they were one epoch before the end; `--continue-from DIR`
lets the code at hand continue them, and compares the ends with those of the undisturbed runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.machine import processor_name  # noqa: E402
from benchmarks.tiny_data import write_cifar10, write_class_folders, write_list_files  # noqa: E402

_PATIENCE = 900  # seconds for a run
_UNDISTURBED = "undisturbed.json"  # beside the folders that `--halfway` keeps
_DIGITS = "digits/config_digits_ir40_bs-experts.json"
_EVERY_EPOCH = ("--save_period", "1")
_THREE_EPOCHS = ("--epochs", "3", "--step1", "2", "--step2", "3", "--warmup", "1")
_TWO_EPOCHS = ("--epochs", "2", "--t_max", "2", "--num_experts", "2", "--bs", "16")


@dataclass(frozen=True)
class Run:
    """A configuration below `configs/`, and the flags that make it a tiny run."""

    flags: tuple[str, ...]
    config: str = _DIGITS
    epochs: int = 3
    processes: int = 1
    kept_halfway: bool = False


def _digits(*flags: str, config: str = _DIGITS, processes: int = 1, kept_halfway: bool = False) -> Run:
    return Run((*_THREE_EPOCHS, *flags), config, processes=processes, kept_halfway=kept_halfway)


def _files(config: str, *flags: str, **keys: object) -> Run:
    sets = {f"data_loader.args.{key}": value for key, value in ({"image_size": 32} | keys).items()}
    changed = [part for key, value in sets.items() for part in ("--set", f"{key}={value}")]
    return Run((*_TWO_EPOCHS, *flags, *changed), config, epochs=2)


RUNS = {
    "mixup, validated": _digits("--val", kept_halfway=True),
    "CutMix": _digits("--combiner_type", "cutmix"),
    "mixup or CutMix": _digits("--combiner_type", "mixup_cutmix"),
    "mixed logits": _digits("--target_mix_strategy", "mix_logits"),
    "dropout": _digits("--set", "arch.args.dropout=0.3"),
    "accumulation": _digits("--accumulate_steps", "4"),
    "dropout, accumulation": _digits("--set", "arch.args.dropout=0.3", "--accumulate_steps", "4", kept_halfway=True),
    "balanced sampling": _digits("--set", "data_loader.args.balanced=true", kept_halfway=True),
    "finetuning phase": _digits("--set", "finetuning_combiner.mode=default", "--finetuning_start", "2"),
    "cross-entropy": _digits("--combiner_type", "mixup", config="digits/config_digits_ir40_ce.json"),
    "two processes": _digits(processes=2),
    "two processes, accumulation": _digits("--accumulate_steps", "2", processes=2),
    "CIFAR's files": Run(
        (
            *("--epochs", "2", "--step1", "1", "--step2", "2", "--warmup", "1", "--num_experts", "2", "--bs", "32"),
            *("--data_dir", "data/cifar", "--randaugm", "true", "--cutout", "true"),
            *("--set", "data_loader.args.verify=false", "--set", "data_loader.args.max_per_class=50"),
            *("--set", "data_loader.args.num_workers=0"),
        ),
        "mixup/standard_training/config_cifar10_ir100_bs-experts.json",
        epochs=2,
    ),
    "list files": _files(
        "mixup/standard_training/config_imagenet_lt_resnet50_bs-experts.json",
        *("--n_gpu", "1", "--val", "--randaugm", "true", "--data_dir", "data/lists/images"),
        *("--set", "arch.type=ResNet10Model", "--set", "arch.args.num_classes=10"),
        **{f"{split}_txt": f"data/lists/{split}.txt" for split in ("train", "val", "test")},
        num_classes=10,
        num_workers=0,
    ),
    "folder of images": _files(
        "own_images/config_image_folder_bs-experts.json", "--data_dir", "data/folders", num_workers=2
    ),
}


def train(code: Path, folder: Path, *arguments: str, processes: int = 1) -> None:
    """Run `train.py` with `folder` as its directory; where it fails, so does this program."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] * (processes > 1)
    done = subprocess.run(
        [sys.executable, *launcher, str(code / "train.py"), *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"train.py {' '.join(arguments)} ended with exit code {done.returncode}:\n{done.stderr.strip()}")


def run(code: Path, folder: Path, number: int, name: str) -> Path:
    """Train one of the runs, `folder` holding `data`; returns its last checkpoint."""
    it, save_dir = RUNS[name], f"run{number}"
    config = str(code / "configs" / it.config)
    flags = (*it.flags, *_EVERY_EPOCH, "--save_dir", save_dir)
    train(code, folder, "-c", config, *flags, processes=it.processes)
    (last,) = (folder / save_dir).glob(f"models/*/*/checkpoint-epoch{it.epochs}.pth")
    return last


def outcome(checkpoint: Path) -> dict[str, Any]:
    """What is recorded of a run: digests of its weights and of their names, and each epoch's log."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights: Mapping[str, torch.Tensor] = content["state_dict"]
    named, whole = hashlib.sha256(), hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().contiguous()
        label = f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()
        named.update(label)
        whole.update(label + tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    history = [{key: float(value).hex() for key, value in log.items()} for log in content["progress"]["history"]]
    return {"weights": whole.hexdigest(), "names_and_shapes": named.hexdigest(), "history": history}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What of a run is not as it was, a line each."""
    if then["names_and_shapes"] != now["names_and_shapes"]:
        yield "the weights' names, types or shapes differ"
    elif then["weights"] != now["weights"]:
        yield "the weights differ"
    if len(then["history"]) != len(now["history"]):
        yield f"{len(then['history'])} epochs were logged then, {len(now['history'])} now"
    for old, new in zip(then["history"], now["history"], strict=False):
        for key in dict.fromkeys([*old, *new]):
            if old.get(key) != new.get(key):
                values = (float.fromhex(log[key]) if key in log else None for log in (old, new))
                yield "epoch {:g}, {}: {} then, {} now".format(float.fromhex(old["epoch"]), key, *values)


def tell(name: str, found: list[str], begin: float) -> bool:
    """Print how a comparison ended; returns whether all is as it was."""
    print(f"{name}: {'DIFFERS' if found else 'equal'} ({time.monotonic() - begin:.0f} s)", flush=True)
    for line in found:
        print(f"  {name}: {line}", flush=True)
    return not found


def keep_halfway(last: Path, folder: Path) -> None:
    """Copy a run's folder without what was written after the epoch before the last."""
    shutil.copytree(last.parent, folder, ignore=shutil.ignore_patterns(last.name))
    best = folder / "model_best.pth"
    if best.is_file() and torch.load(best, weights_only=True)["epoch"] == torch.load(last, weights_only=True)["epoch"]:
        best.unlink()


def continue_runs(code: Path, halfway: Path, folder: Path) -> bool:
    """Continue copies of the runs that `--halfway` has kept; returns whether all end as the undisturbed ones did."""
    undisturbed, equal = json.loads((halfway / _UNDISTURBED).read_text())["runs"], True
    for number, (name, then) in enumerate(undisturbed.items()):
        begin, copied = time.monotonic(), folder / f"continued{number}"
        shutil.copytree(halfway / _folder_name(name), copied)
        epochs = RUNS[name].epochs
        train(code, folder, "-r", str(copied / f"checkpoint-epoch{epochs - 1}.pth"))
        last = copied / f"checkpoint-epoch{epochs}.pth"
        found = list(differences(then, outcome(last))) if last.is_file() else ["it was not continued in its own folder"]
        equal &= tell(f"{name}, continued", found, begin)
    return equal


def write_data(folder: Path) -> str:
    """Write all data sets below `folder`; returns a digest of their files."""
    write_cifar10(folder / "cifar")
    write_list_files(folder / "lists")
    write_class_folders(folder / "folders")
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


def circumstances(data: str) -> dict[str, Any]:
    """What the recorded bits depend on beside the code."""
    return {
        "processor": processor_name(),
        "threads": 1,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "numpy", "pillow", "scikit-learn")},
        "data": data,
    }


def commit_of(code: Path) -> str:
    """The checkout's commit, with "-dirty" behind it where files were changed; empty where it has none."""
    command = ["git", "-C", str(code), "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _folder_name(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "_")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, default=ROOT, metavar="DIR", help="checkout to run; default: this one")
    parser.add_argument("--only", nargs="+", choices=list(RUNS), metavar="NAME", help="of the runs only these")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the record here")
    parser.add_argument("--compare", type=Path, metavar="JSON", help="compare with this record; exit code 1: differs")
    parser.add_argument("--halfway", type=Path, metavar="DIR", help="keep some runs' folders of an epoch before here")
    parser.add_argument("--continue-from", type=Path, metavar="DIR", help="continue what --halfway has kept")
    options = parser.parse_args()
    trains = bool(options.out or options.compare or options.halfway)
    if not (trains or options.continue_from):
        parser.error("nothing to do: name --out, --compare, --halfway or --continue-from")
    if not (options.code / "train.py").is_file():
        parser.error(f"--code {options.code}: holds no train.py")
    with tempfile.TemporaryDirectory(prefix="unchanged-runs-") as name:
        equal = run_all(options, Path(name)) if trains else True
        if options.continue_from:
            equal &= continue_runs(options.code.resolve(), options.continue_from, Path(name))
    sys.exit(0 if equal else 1)


def run_all(options: argparse.Namespace, folder: Path) -> bool:
    """Train the runs in `folder`; record, compare and keep what the flags say. Returns whether all is as it was."""
    here = circumstances(write_data(folder / "data"))
    now: dict[str, Any] = {"commit": commit_of(options.code), **here, "runs": {}}
    then = json.loads(options.compare.read_text()) if options.compare else None
    for name, value in here.items() if then else ():
        if then.get(name) != value:
            print(f"note: {name}: {then.get(name)} in the record, {value} here; bits may differ for that")
    wanted = options.only or (then["runs"] if then else RUNS)
    equal = True
    for number, name in enumerate(RUNS):
        if name not in wanted or not (options.out or then or RUNS[name].kept_halfway):
            continue
        begin = time.monotonic()
        last = run(options.code.resolve(), folder, number, name)
        now["runs"][name] = outcome(last)
        if then:
            recorded = then["runs"].get(name)
            found = list(differences(recorded, now["runs"][name])) if recorded else ["the record does not have it"]
            equal &= tell(name, found, begin)
        else:
            print(f"{name}: {now['runs'][name]['weights'][:12]} ({time.monotonic() - begin:.0f} s)", flush=True)
        if options.halfway and RUNS[name].kept_halfway:
            keep_halfway(last, options.halfway / _folder_name(name))
    if options.halfway:
        kept = {name: result for name, result in now["runs"].items() if RUNS[name].kept_halfway}
        (options.halfway / _UNDISTURBED).write_text(json.dumps({**now, "runs": kept}, indent=1) + "\n")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(now, indent=1) + "\n")
    return equal


if __name__ == "__main__":
    main()
