"""Copies of many tensors at once, and what is copied to a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.imagined_gpu import GPU
from utils.device_copies import copies_of, copy_all, to_device


def mixed() -> list[Tensor]:
    """Several dtypes and shapes, one with a gradient, one in channels-last memory."""
    images = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(4, requires_grad=True)
    return [torch.tensor(3), weight, torch.randn(2, 3), torch.tensor(5), images, torch.ones(2, dtype=torch.bfloat16)]


def test_copies_are_equal_and_others() -> None:
    tensors = mixed()
    copies = copies_of(tensors)
    assert all(map(torch.equal, copies, tensors))
    assert [copy.dtype for copy in copies] == [tensor.dtype for tensor in tensors]
    assert [copy.stride() for copy in copies] == [tensor.stride() for tensor in tensors]
    assert not any(copy.requires_grad for copy in copies)
    assert {copy.data_ptr() for copy in copies}.isdisjoint(tensor.data_ptr() for tensor in tensors)


def test_values_are_written_where_the_tensors_lie() -> None:
    tensors, values = mixed(), [value * 2 for value in mixed()]
    places = [tensor.data_ptr() for tensor in tensors]
    copy_all(tensors, values)
    assert all(map(torch.equal, tensors, values))
    assert [tensor.data_ptr() for tensor in tensors] == places
    assert tensors[1].requires_grad


def test_of_nothing_there_are_no_copies() -> None:
    assert copies_of([]) == []
    copy_all([], [])


def test_what_goes_to_a_gpu_is_contiguous_before_it_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of a table isn't; CUDA would copy it by way of ordinary memory, and wait."""
    pinned: list[Tensor] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    monkeypatch.setattr(Tensor, "to", lambda tensor, device, non_blocking: (tensor, device, non_blocking))
    table = np.arange(12).reshape(4, 3)
    assert to_device(table[:, 1], GPU)[1:] == (GPU, True)
    assert pinned[0].is_contiguous()
    assert pinned[0].tolist() == [1, 4, 7, 10]
