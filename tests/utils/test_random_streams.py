"""Randomness is a function of its key: known answers, independence of rows, distinct streams, uniformity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.random_streams import Stream, generator, philox, sample_seeds, uniforms

KEYS = np.stack(np.meshgrid([0, 1, 7], np.arange(50), [0, 1], indexing="ij"), axis=-1).reshape(-1, 3)


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [  # kat_vectors of Random123 (Salmon et al.), philox4x32 with 10 rounds
        ([0] * 4, (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_known_answers_of_random123(
    counter: list[int], key: tuple[int, int], answer: list[int]
) -> None:
    words = philox(np.array([counter], np.uint64), key)
    assert words.dtype == np.uint32
    assert words.tolist() == [answer]


def test_philox_treats_each_row_of_counters_by_itself() -> None:
    counters = np.random.default_rng(0).integers(0, 2**32, size=(17, 4), dtype=np.uint64)
    together = philox(counters, (3, 5))
    assert np.array_equal(together, np.concatenate([philox(row[None], (3, 5)) for row in counters]))


@settings(deadline=None, max_examples=50)
@given(order=st.permutations(range(20)), cut=st.integers(0, 20), count=st.integers(1, 9))
def test_uniforms_of_a_sample_do_not_depend_on_its_batch(order: list[int], cut: int, count: int) -> None:
    sample_ids = KEYS[40:60]
    whole = uniforms(1, Stream.GEOMETRY, sample_ids, count)
    shuffled = sample_ids[order]
    parts = np.concatenate([uniforms(1, Stream.GEOMETRY, part, count) for part in (shuffled[:cut], shuffled[cut:])])
    assert np.array_equal(parts, whole[order])


def test_asking_for_more_numbers_does_not_change_the_first_ones() -> None:
    assert np.array_equal(uniforms(1, Stream.POLICY, KEYS, 13)[:, :3], uniforms(1, Stream.POLICY, KEYS, 3))


def test_uniforms_lie_in_the_half_open_unit_interval_and_have_the_asked_shape() -> None:
    draws = uniforms(2**64 - 1, Stream.CUTOUT, KEYS, 6)
    assert draws.shape == (len(KEYS), 6)
    assert draws.dtype == np.float64
    assert draws.min() >= 0
    assert draws.max() < 1


def test_seeds_streams_epochs_indices_and_repeats_never_share_numbers() -> None:
    seeds = (0, 1, 2, 2**32, 2**32 + 1, 2**63)
    rows = np.concatenate([uniforms(seed, stream, KEYS, 8).reshape(-1, 4) for seed in seeds for stream in Stream])
    assert len(rows) == len(seeds) * len(Stream) * len(KEYS) * 2
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_streams_have_numbers_of_their_own() -> None:
    assert len({int(stream) for stream in Stream}) == len(Stream.__members__)


def test_uniforms_fill_one_hundred_bins_evenly() -> None:
    sample_ids = np.zeros((25_000, 3), np.int64)
    sample_ids[:, 1] = np.arange(len(sample_ids))
    counts = np.bincount((uniforms(1, Stream.ORDER, sample_ids, 4) * 100).astype(int).ravel(), minlength=100)
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert 59 < chi_square < 152  # 99 degrees of freedom: outside with probability 0.001; the seed is fixed


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["epoch", "index", "repeat"])
def test_numbers_of_neighbouring_keys_are_independent(axis: int) -> None:
    sample_ids = np.zeros((51_200, 3), np.int64)
    sample_ids[:, axis] = np.arange(len(sample_ids))
    cells = (uniforms(1, Stream.GEOMETRY, sample_ids, 1)[:, 0] * 16).astype(int)
    counts = np.bincount(cells[0::2] * 16 + cells[1::2], minlength=256)
    chi_square = ((counts - 100) ** 2 / 100).sum()
    assert 187 < chi_square < 336  # 255 degrees of freedom: outside with probability 0.001; the seed is fixed


def test_sample_seeds_are_distinct_and_accepted_by_torch() -> None:
    seeds = sample_seeds(1, Stream.POLICY, KEYS)
    assert len(set(seeds)) == len(KEYS)
    assert all(isinstance(seed, int) and 0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**61  # the high bits are used, too
    torch.Generator().manual_seed(max(seeds))
    assert sample_seeds(1, Stream.POLICY, KEYS[5:8]) == seeds[5:8]


def test_generator_repeats_itself_for_the_same_occasion() -> None:
    first, second = (generator(3, Stream.MIXING, 4, 5).random(1000) for _ in range(2))
    assert np.array_equal(first, second)


def test_generator_differs_by_seed_stream_and_each_counter() -> None:
    occasions = [
        (seed, stream, *counters)
        for seed in (0, 1, 2**32, 2**64 - 1)
        for stream in (Stream.MIXING, Stream.DROPOUT)
        for counters in ((0, 1), (1, 0), (1, 1), (2, 1), (1, 2))
    ]
    drawn = np.stack([generator(*occasion).random(50) for occasion in occasions])
    assert len(np.unique(drawn)) == drawn.size


def test_generator_takes_missing_counters_as_zero_and_refuses_a_third() -> None:
    assert generator(1, Stream.MIXING).random() == generator(1, Stream.MIXING, 0, 0).random()
    assert generator(1, Stream.MIXING, 3).random() == generator(1, Stream.MIXING, 3, 0).random()
    with pytest.raises(TypeError):
        generator(1, Stream.MIXING, 1, 2, 3)  # type: ignore[call-arg]
