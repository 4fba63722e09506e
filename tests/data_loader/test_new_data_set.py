"""A new in-memory data set is one file of at most 15 lines, and no list elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch

from tests.data_loader.epochs import inputs
from utils.registry import collect

NEW_FILE = '''
"""Stripes in two directions."""
import numpy as np
import torch
from data_loader.array_loaders import ArrayDatasetSpec, ImbalanceArrayDataLoader
from data_loader.datasets.labelled_images import LabelledImages
__all__ = ["StripesDataLoader"]
def read_stripes(data_dir, *, train, verify):
    labels = np.arange(200 if train else 20) % 2
    across = torch.arange(8).remainder(2).mul(255).to(torch.uint8).expand(3, 8, 8)
    return LabelledImages(torch.stack([(across, across.mT)[label] for label in labels]), labels, ["down", "across"])
class StripesDataLoader(ImbalanceArrayDataLoader):
    """Long-tailed stripes."""
    spec = ArrayDatasetSpec(read_stripes, side=8, mean=(0.5,) * 3, std=(0.5,) * 3, padding=1, flip=True, degrees=0)
'''


def test_an_in_memory_data_set_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(NEW_FILE.strip().splitlines()) <= 15
    package = tmp_path / "more_loaders"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "stripes.py").write_text(dedent(NEW_FILE))
    monkeypatch.syspath_prepend(tmp_path)
    loaders = collect("more_loaders", [str(package)])
    monkeypatch.delitem(sys.modules, "more_loaders.stripes")
    assert list(loaders) == ["StripesDataLoader"]
    loader = loaders["StripesDataLoader"](data_dir="", batch_size=16, num_workers=0, imb_factor=0.1, randaugm=True)
    assert loader.cls_num_list == [100, 10]
    images = torch.cat([batch[0] for batch in inputs(loader, 0)])
    assert images.shape == (110, 3, 8, 8)
    assert loader.of_split("test").num_images == 20
