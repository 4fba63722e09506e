"""Randomness as a function: of (seed, stream, epoch, index or step), never of history, worker or rank.

Every random choice of a run is computed from what it belongs to, so nothing random needs saving: a run that is
continued, read by more workers or spread over more devices makes the same choices.

`uniforms` is Philox4x32-10 (Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC 2011), a
counter-based generator: the 128-bit counter says which number is wanted, the 64-bit key is the seed. `generator`
hands the same idea to NumPy's own Philox where a few numbers of a rarer distribution are needed.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


class Stream(IntEnum):
    """What a random number is for; two streams never share numbers."""

    ORDER = 1  # the order of an epoch's samples
    GEOMETRY = 2  # padded crop, flip, rotation
    POLICY = 3  # AutoAugment, TrivialAugmentWide, RandAugment
    CUTOUT = 4
    COLOUR = 5
    MIXING = 6  # mixup's and CutMix's λ, box and pairing
    DROPOUT = 7
    VALIDATION_SPLIT = 8
    REPLACEMENT = 9  # which image replaces an unreadable one
    CROP = 10  # area, ratio and place of a resized crop
    TEST_PRIOR = 11  # test distributions drawn at random
    BOOTSTRAP = 12  # which images a resampled test set has
    ARRIVAL = 13  # which test images of a stream come when


def philox(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10 of each counter.

    Args:
        counters: unsigned integers below 2³², shape [N, 4].
        key: two unsigned integers below 2³².

    Returns:
        uint32, shape [N, 4].
    """
    c0, c1, c2, c3 = counters.astype(np.uint64).T
    rounds = np.arange(_ROUNDS, dtype=np.uint64)
    round_keys = [(np.uint64(part) + rounds * np.uint64(step)) & _LOW for part, step in zip(key, _WEYL, strict=True)]
    for k0, k1 in zip(*round_keys, strict=True):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ k0, p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ k1, p0 & _LOW
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def _words(seed: int, stream: Stream, sample_ids: np.ndarray, count: int) -> np.ndarray:
    """`count` random words for each of N sample ids (epoch, index, repeat): uint32, shape [N, count]."""
    blocks = -(-count // 4)
    counters = np.empty((len(sample_ids), blocks, 4), np.uint64)
    counters[:, :, :3] = sample_ids[:, None, :]
    counters[:, :, 3] = (int(stream) << 16) + np.arange(blocks)
    words = philox(counters.reshape(-1, 4), (seed & 0xFFFFFFFF, seed >> 32))
    return words.reshape(len(sample_ids), 4 * blocks)[:, :count]


def uniforms(seed: int, stream: Stream, sample_ids: np.ndarray, count: int) -> np.ndarray:
    """`count` numbers uniform on [0, 1) for every sample of a batch.

    Args:
        seed: the run's seed, 0 … 2⁶⁴ − 1.
        stream: what the numbers are for.
        sample_ids: integers below 2³², shape [N, 3]: epoch, sample index, and how often the epoch has drawn this
            sample before (0 unless sampling with replacement).
        count: numbers for each sample, at most 4 · 2¹⁶.

    Returns:
        float64, shape [N, count]; row i depends on `sample_ids[i]` alone.
    """
    return _words(seed, stream, sample_ids, count) * 2.0**-32


def sample_seeds(seed: int, stream: Stream, sample_ids: np.ndarray) -> list[int]:
    """A 63-bit seed for each sample, for operations that draw from a library's own generator; length N."""
    words = _words(seed, stream, sample_ids, 2).astype(np.int64)
    return [int(high >> 1) << 32 | int(low) for high, low in words]


def generator(seed: int, stream: Stream, first: int = 0, second: int = 0, /) -> np.random.Generator:
    """NumPy's generator for one occasion, named by at most two counters (an epoch and a step, say)."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, second, first, int(stream)]))
