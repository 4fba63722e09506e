"""`python -m tools.export`: files that run elsewhere and equal the checkpoint on JPEGs, or no file at all."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_loader.datasets.decoding import ImageReader
from data_loader.transforms.crops import CentreCrop
from model.deployed import DeployedModel
from tests.scripts.command_line import ROOT, Shell, files_below
from tests.tools.run_on_jpegs import SHORTER, SIDE, expected, jpegs
from tests.trainer.small_runs import run, small_config
from trainer.inference import program_files
from trainer.inference.pixels import prepare
from trainer.inference.program_files import FORMATS, Program
from utils.files.checkpoint import file_digest

FRESH = """
import json, sys
import numpy as np, torch
extra = {"metadata.json": ""}
program = torch.export.load(sys.argv[1], extra_files=extra).module()
with torch.inference_mode():
    found = [program(torch.from_numpy(images)).numpy() for images in np.load(sys.argv[2])]
np.save(sys.argv[3], np.concatenate(found))
print(json.loads(extra["metadata.json"])["class_names"])
"""


@pytest.fixture
def export(made: Path, shell: Shell, tmp_path: Path):
    """Runs the command with the checkpoint, `--out` in a folder of its own, and further flags."""
    return lambda kind, *flags: shell(
        "tools.export", made / "run" / "model.pth", "--format", kind, "--out", tmp_path / f"out.{kind}", *flags
    )


def in_fresh_process(folder: Path, batches: np.ndarray) -> np.ndarray:
    """Probabilities [N, C] of batches [n, B, S, S, 3] from `out.torch`, with torch and NumPy alone."""
    np.save(folder / "images.npy", batches)
    files = [folder / name for name in ("out.torch", "images.npy", "probabilities.npy")]
    done = subprocess.run(
        [sys.executable, "-I", "-c", FRESH, *files],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "['apple', 'birch', 'cedar']\n"), done.stderr
    found: np.ndarray = np.load(files[2])
    return found


CORRECTED = ("--calibration", "stored", "--prior")


@pytest.mark.parametrize(("kind", "corrected"), [("torch", False), ("onnx", True)])
def test_a_file_gives_the_checkpoints_probabilities_of_jpegs(made, export, tmp_path, kind, corrected):
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    ended = export(kind, *((*CORRECTED, made / "prior.json") if corrected else ()))
    assert (ended.code, ended.err) == (0, "")
    program = FORMATS[kind].read((tmp_path / f"out.{kind}").read_bytes())
    paths = jpegs(made, 32)
    pixels = np.stack([prepare(str(path), SIDE, SHORTER) for path in paths])
    ours = np.stack([CentreCrop(SIDE, SHORTER)(ImageReader()(str(path)), np.empty(0)).numpy() for path in paths])
    channels_last = np.ascontiguousarray(ours.transpose(0, 2, 3, 1))
    assert np.abs(pixels.astype(int) - channels_last).max() <= 1
    probabilities = expected(made, paths, corrected=corrected)
    assert probabilities.max() > 0.6
    assert probabilities.min() < 0.1
    for batch in (1, 32):
        parts = np.split(channels_last, 32 // batch)
        np.testing.assert_allclose(np.concatenate([program.run(part) for part in parts]), probabilities, atol=1e-4)
    if kind == "torch":
        np.testing.assert_allclose(in_fresh_process(tmp_path, channels_last[None]), probabilities, atol=1e-4)
    np.testing.assert_allclose(program.run(pixels), probabilities, atol=0.02)  # a pixel differs by 1 here and there

    told = program.metadata
    assert told["class_names"] == ["apple", "birch", "cedar"]
    assert told["checkpoint_sha256"] == file_digest(made / "run" / "model.pth")
    assert told["input"]["shape"] == ["batch", SIDE, SIDE, 3]
    assert (told["resize"]["side"], told["resize"]["shorter"]) == (SIDE, SHORTER)
    assert told["home_prior"] == pytest.approx([1 / 3] * 3)
    assert told["temperature"] == pytest.approx(2 if corrected else 1)
    assert told["test_prior"] == (pytest.approx([1 / 6, 1 / 3, 1 / 2]) if corrected else None)
    scope: dict[str, Any] = {}
    exec(told["resize"]["source"], scope)  # as whoever has the file alone does
    np.testing.assert_array_equal(scope["prepare"](str(paths[0]), SIDE, SHORTER), pixels[0])


def test_a_file_that_differs_from_the_checkpoint_is_not_kept(made, export, tmp_path, monkeypatch):
    class Wrong:
        suffix, runs_with = ".pt2", "nothing"
        check_packages = staticmethod(lambda: None)
        write = staticmethod(lambda program, metadata: b"wrong")
        read = staticmethod(lambda content: Program(lambda images: np.full((len(images), 3), 1 / 3, np.float32), {}))

    monkeypatch.setitem(FORMATS, "torch", Wrong())
    monkeypatch.setattr("trainer.inference.export_command.capture", lambda model, side: None)
    ended = export("torch")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.count("\n") == 1
    assert "not written: its probabilities differ from the checkpoint's by" in ended.err
    assert files_below(tmp_path) == {}


class Unconverted:
    """A format whose files run the model as it is, so that no exporter takes its time."""

    suffix, runs_with = ".pt2", "nothing"

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}

    def check_packages(self) -> None:
        """Nothing is needed."""

    def write(self, program: DeployedModel, metadata: dict[str, Any]) -> bytes:
        self.program, self.metadata = program, metadata
        return b"a file"

    def read(self, content: bytes) -> Program:
        model = self.program.eval()
        return Program(lambda images: model(torch.from_numpy(images)).detach().numpy(), self.metadata)


@pytest.fixture
def unconverted(monkeypatch: pytest.MonkeyPatch) -> Unconverted:
    kind = Unconverted()
    monkeypatch.setitem(FORMATS, "torch", kind)  # type: ignore[arg-type]
    monkeypatch.setattr("trainer.inference.export_command.capture", lambda model, side: model)
    return kind


def test_the_data_may_be_gone_where_other_images_are_named(made, shell, tmp_path, unconverted):
    shutil.copytree(made / "run", tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace(str(made / "data"), str(tmp_path / "nowhere")))
    command = ("tools.export", tmp_path / "run" / "model.pth", "--format", "torch", "--out", tmp_path / "out.pt2")
    ended = shell(*command)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "no images to check the file with: name some with --check-on IMAGES" in ended.err
    ended = shell(*command, "--check-on", *jpegs(made, 3), "--calibration", "stored", "--prior", made / "prior.json")
    assert (ended.code, ended.err) == (0, "")
    assert "on 3 given images, in batches of 1 and 3" in ended.out
    assert (tmp_path / "out.pt2").read_bytes() == b"a file"


def test_averaged_weights_are_exported_where_they_are_asked_for(shell, tmp_path, unconverted):
    averaged = {"type": "EMA", "args": {"decay": 0.5}}
    changes = {"data_loader__args__max_per_class": 6, "data_loader__args__batch_size": 8}
    content = run(tmp_path / "run", small_config(**changes, trainer__epochs=1, method=averaged))
    checkpoint = tmp_path / "run" / "checkpoint-epoch1.pth"
    name = "backbone.linears.0.weight"
    for weights, state in (("raw", content["state_dict"]), ("averaged", content["averaged_state_dict"])):
        ended = shell("tools.export", checkpoint, "--format", "torch", "--weights", weights)
        assert (ended.code, ended.err) == (0, "")
        assert torch.equal(unconverted.program.network.state_dict()[name], state[name])
        assert unconverted.metadata["weights"] == weights
        assert f"(epoch 1), {weights} weights: " in ended.out
    assert not torch.equal(content["state_dict"][name], content["averaged_state_dict"][name])


def test_what_is_missing_is_told_in_a_line_before_anything_is_read(made, export, tmp_path, monkeypatch):
    monkeypatch.setattr(program_files, "find_spec", lambda name: None if name == "onnxscript" else name)
    ended = export("onnx")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "error: --format onnx: needs onnxscript; install with: pip install onnx onnxscript onnxruntime\n"
    )
    assert files_below(tmp_path) == {}


def test_the_documented_function_is_the_one_that_was_checked():
    assert inspect.getsource(prepare) in (ROOT / "docs/export.md").read_text(encoding="utf8")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--calibration", "nowhere.json"), "nowhere.json: "),
        (("--prior", "nowhere.csv"), "nowhere.csv: "),
        (("--format", "tflite"), "invalid choice: 'tflite'"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_file(export, tmp_path, flags, message):
    ended = export("torch", *flags)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert message in ended.err
    assert files_below(tmp_path) == {}
