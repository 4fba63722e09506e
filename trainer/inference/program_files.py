"""Files that hold a program, weights included: written and run, for PyTorch and for ONNX.

`B` batch, `C` classes, `S` side of an image. A program takes uint8 images [B, S, S, 3], any B, to probabilities [B, C].
"""

from __future__ import annotations

import io
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch.export import Dim, ExportedProgram

from model.deployed import DeployedModel
from utils.errors import UserError

IMAGES, PROBABILITIES = "images", "probabilities"
METADATA = "metadata.json"


class Program(NamedTuple):
    """What a file holds.

    Attributes:
        run: uint8 images [B, S, S, 3] → probabilities [B, C].
        metadata: what it says of itself.
    """

    run: Callable[[np.ndarray], np.ndarray]
    metadata: dict[str, Any]


class ProgramFormat(ABC):
    """A kind of file.

    Attributes:
        suffix: of the files' names.
        packages: what it takes beside PyTorch to write and check one.
        runs_with: what runs one, in words.
    """

    suffix: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    runs_with: ClassVar[str]

    def check_packages(self) -> None:
        """Raise a UserError that names the packages that are not installed."""
        missing = [name for name in self.packages if find_spec(name) is None]
        if missing:
            raise UserError(
                f"--format {self.suffix.removeprefix('.')}: needs {', '.join(missing)}; install with: "
                f"pip install {' '.join(self.packages)}"
            )

    @abstractmethod
    def write(self, program: ExportedProgram, metadata: Mapping[str, Any]) -> bytes:
        """The file's bytes."""

    @abstractmethod
    def read(self, content: bytes) -> Program:
        """The program of a file's bytes."""


class TorchFormat(ProgramFormat):
    """An exported program of PyTorch (`torch.export`): neither this project's code nor any pickle runs on loading."""

    suffix = ".pt2"
    runs_with = "PyTorch"

    def write(self, program: ExportedProgram, metadata: Mapping[str, Any]) -> bytes:
        """The archive, with the metadata in the extra file "metadata.json"."""
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={METADATA: json.dumps(metadata, ensure_ascii=False)})
        return buffer.getvalue()

    def read(self, content: bytes) -> Program:
        """As anybody loads it."""
        extra: dict[str, Any] = {METADATA: ""}
        module = torch.export.load(io.BytesIO(content), extra_files=extra).module()

        def run(images: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                probabilities: np.ndarray = module(torch.from_numpy(images)).numpy()
            return probabilities

        return Program(run, json.loads(extra[METADATA]))


class OnnxFormat(ProgramFormat):
    """ONNX, for ONNX Runtime and what else reads it."""

    suffix = ".onnx"
    packages = ("onnx", "onnxscript", "onnxruntime")
    runs_with = "ONNX Runtime"

    def write(self, program: ExportedProgram, metadata: Mapping[str, Any]) -> bytes:
        """The model, with the metadata in the property "metadata.json"."""
        with _without_chatter():
            converted = torch.onnx.export(
                program,
                input_names=[IMAGES],
                output_names=[PROBABILITIES],
                dynamic_shapes={IMAGES: {0: "batch"}},
                external_data=False,
                verbose=False,
            )
        assert converted is not None
        converted.model.metadata_props[METADATA] = json.dumps(metadata, ensure_ascii=False)
        content: bytes = converted.model_proto.SerializeToString()
        return content

    def read(self, content: bytes) -> Program:
        """In ONNX Runtime, on the CPU."""
        import onnxruntime  # noqa: PLC0415 - an optional package

        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        metadata = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])

        def run(images: np.ndarray) -> np.ndarray:
            probabilities: np.ndarray = session.run([PROBABILITIES], {IMAGES: images})[0]
            return probabilities

        return Program(run, metadata)


FORMATS: dict[str, ProgramFormat] = {"torch": TorchFormat(), "onnx": OnnxFormat()}
"""By the value of `--format`."""


def capture(model: DeployedModel, side: int) -> ExportedProgram:
    """A model as a graph of PyTorch's operations, for images [B, side, side, 3] of any B ≥ 1."""
    images = torch.zeros((2, side, side, 3), dtype=torch.uint8)  # of 2, as tracing takes 1 for a constant
    with _without_chatter(), torch.no_grad():
        return torch.export.export(model.eval(), (images,), dynamic_shapes={IMAGES: {0: Dim.DYNAMIC}})


@contextmanager
def _without_chatter() -> Iterator[None]:
    """What the exporters log below errors is for their developers, and collecting it takes most of the time."""
    names = ("torch.onnx", "torch.export", "torch.__trace", "onnxscript", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
