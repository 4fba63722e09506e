"""Kill a run at random moments, continue it with `-r auto`, and compare the end with an undisturbed run bit for bit.

Each trial starts a short run on digits-LT in a fresh folder and sends it SIGKILL: in half of the trials at a random
moment, in the others in the middle of writing a checkpoint. The run is then continued until it ends by itself.

    python benchmarks/crash_campaign.py --kills 50
    python benchmarks/crash_campaign.py --kills 20 --workers 2 --strong
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from trainer.build import build_model  # noqa: E402
from trainer.config.run_config import run_config  # noqa: E402
from trainer.evaluation.predictions import predict  # noqa: E402
from trainer.loaders import build_loader  # noqa: E402
from trainer.weights import load_weights  # noqa: E402
from utils.config.parser import CONFIG_NAME, ConfigParser  # noqa: E402
from utils.files.checkpoint import load_checkpoint  # noqa: E402

CPU = torch.device("cpu")
CONFIG = "configs/digits/config_digits_ir40_bs-experts.json"


def train_command(save_dir: Path, options: argparse.Namespace) -> list[str]:
    flags = ["--epochs", str(options.epochs), "--step1", "2", "--step2", "3", "--val", "--save_period", "1"]
    flags += ["--track_expert_losses", "true", "--set", "trainer.checkpoint_minutes=0.003"]
    flags += ["--set", f"data_loader.args.num_workers={options.workers}"]
    if options.strong:
        flags += ["--randaugm", "true", "--cutout", "true", "--combiner_type", "mixup_cutmix"]
    # The folder is not part of what is compared: the same relative name is used in each trial's own directory.
    script = [sys.executable, str(ROOT / "train.py"), "-c", str(ROOT / options.config), "-r", "auto"]
    return [*script, "--save_dir", "runs", *flags]


def start(folder: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    log = (folder / "output.log").open("ab")
    return subprocess.Popen(train_command(folder, options), cwd=folder, stdout=log, stderr=log, start_new_session=True)


def finish(folder: Path, options: argparse.Namespace) -> Path:
    """Run until it ends by itself; the last checkpoint."""
    code = start(folder, options).wait(timeout=600)
    if code != 0:
        raise SystemExit(f"the run in {folder} ended with exit code {code}:\n{(folder / 'output.log').read_text()}")
    (last,) = folder.glob(f"runs/models/*/*/checkpoint-epoch{options.epochs}.pth")
    return last


def kill_at_random(folder: Path, options: argparse.Namespace, *, longest: float, while_writing: bool) -> str | None:
    """Start a run and SIGKILL it; says when, None where it ended first."""
    process = start(folder, options)
    begin, delay = time.monotonic(), random.uniform(0, longest)
    while process.poll() is None:
        waited = time.monotonic() - begin
        writing = while_writing and any(folder.glob("runs/models/*/*/.checkpoint-*")) and waited > delay
        if writing or (not while_writing and waited >= delay):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"{'while writing a checkpoint' if while_writing else 'at random'}, {waited:.2f} s after the start"
        time.sleep(0.0005)
    return None


def logits_of(checkpoint: Path) -> np.ndarray:
    path = checkpoint.parent / CONFIG_NAME
    config = run_config(ConfigParser.from_file(path))
    network = build_model(config, CPU)
    load_weights(network, load_checkpoint(checkpoint)["state_dict"], checkpoint)
    predicted = predict(network, build_loader(config).of_split("test"), CPU)
    assert predicted is not None
    return predicted[0]


def differences(one: object, other: object, path: str = "") -> list[str]:
    """Where two checkpoints' contents differ, to the bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return [] if alike and one.numpy().tobytes() == other.numpy().tobytes() else [path]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [line for key in one for line in differences(one[key], other[key], f"{path}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [line for i in range(len(one)) for line in differences(one[i], other[i], f"{path}[{i}]")]
    return [] if one == other else [path]


def compare(checkpoint: Path, reference: Path) -> list[str]:
    """Where a trial's end differs from the reference: checkpoints, best checkpoints, predictions."""
    found = differences(load_checkpoint(reference), load_checkpoint(checkpoint))
    best = [load_checkpoint(path.with_name("model_best.pth")) for path in (reference, checkpoint)]
    found += [f"best{line}" for line in differences(*best)]
    if not np.array_equal(logits_of(reference), logits_of(checkpoint)):
        found.append("predictions")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="trials, one SIGKILL each (default 50)")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of the run (default 4)")
    parser.add_argument("--config", default=CONFIG, help="of digits-LT, from the repository's root (default: BalPoE's)")
    parser.add_argument("--workers", type=int, default=0, help="loader processes (default 0)")
    parser.add_argument("--strong", action="store_true", help="AutoAugment, Cutout, mixup and CutMix")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("--out", type=Path, help="write the outcome here, as JSON")
    options = parser.parse_args()
    random.seed(options.seed)
    root = Path(tempfile.mkdtemp(prefix="crash-campaign-"))
    reference_folder = root / "reference"
    reference_folder.mkdir()
    begin = time.monotonic()
    reference = finish(reference_folder, options)
    longest = time.monotonic() - begin
    print(f"undisturbed run: {longest:.1f} s; {platform.platform()}, {os.cpu_count()} cores, torch {torch.__version__}")
    equal, trials = 0, []
    for trial in range(1, options.kills + 1):
        folder = root / f"trial{trial}"
        moment = None
        while moment is None:  # a run that ends before the moment comes is no trial
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            moment = kill_at_random(folder, options, longest=longest, while_writing=trial % 2 == 1)
        found = compare(finish(folder, options), reference)
        equal += not found
        trials.append({"moment": moment, "differences": found})
        outcome = f"differs in {found[:3]}" if found else "equal"
        print(f"{trial}/{options.kills}  killed {moment}: {outcome}", flush=True)
        shutil.rmtree(folder)
    shutil.rmtree(root)
    print(f"{equal}/{options.kills}")
    if options.out:
        facts = {
            "config": options.config,
            "equal": equal,
            "kills": options.kills,
            "workers": options.workers,
            "strong": options.strong,
        }
        options.out.write_text(json.dumps({**facts, "machine": platform.platform(), "trials": trials}, indent=1) + "\n")
    sys.exit(0 if equal == options.kills else 1)


if __name__ == "__main__":
    main()
