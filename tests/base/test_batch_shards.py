"""How a batch is cut: whole groups, each image counted once, and the mixing of every part that of the whole."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from base import Share, micro_batches, share_of
from base.batch_shards import groups
from trainer.methods.mixing import Combiner, CombinerOptions, MixupOptions, draw_partners

SIZES = st.integers(1, 5000)
COUNTS = st.integers(1, 70)


def images_of(begin: int, end: int) -> list[int]:
    return list(range(begin, end))


def shares_of(batch_size: int, size: int) -> list[Share]:
    return [share_of(batch_size, rank, size) for rank in range(size)]


def number_of_groups(begin: int, end: int, batch_size: int) -> int:
    """Groups from `begin` to `end`, which must both stand between two groups."""
    bounds = [0, *(end for _, end in groups(batch_size))]
    return bounds.index(end) - bounds.index(begin)


# -- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch_size", "expected"),
    [
        (1, [1]),
        (2, [2]),
        (3, [3]),
        (4, [2, 2]),
        (5, [2, 3]),
        (14, [2] * 7),
        (16, [2] * 8),
        (17, [2] * 7 + [3]),
        (24, [3] * 8),
        (32, [4] * 8),
        (35, [4] * 8 + [3]),
        (64, [8] * 8),
        (78, [9] * 8 + [6]),
        (128, [16] * 8),
        (129, [16] * 7 + [17]),
        (512, [16] * 32),
    ],
)
def test_groups_by_hand(batch_size: int, expected: list[int]) -> None:
    """⌊B/8⌋ images each, 2 at least and 16 at most; one left over joins the last."""
    assert [end - begin for begin, end in groups(batch_size)] == expected


@settings(max_examples=300, deadline=None)
@given(SIZES)
def test_groups_are_runs_of_images_without_gap_or_overlap(batch_size: int) -> None:
    found = groups(batch_size)
    assert [i for begin, end in found for i in images_of(begin, end)] == images_of(0, batch_size)


@settings(max_examples=300, deadline=None)
@given(SIZES)
def test_nobody_is_alone_in_a_group_but_in_a_batch_of_one(batch_size: int) -> None:
    sizes = [end - begin for begin, end in groups(batch_size)]
    assert min(sizes) >= min(batch_size, 2)
    assert max(sizes) <= 17
    assert len(set(sizes[:-1])) <= 1
    assert batch_size < 16 or len(sizes) >= 8


# -- shares of processes ----------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(SIZES, COUNTS)
def test_the_shares_that_count_partition_a_batch_into_whole_groups(batch_size: int, size: int) -> None:
    shares = shares_of(batch_size, size)
    counting = [share for share in shares if share.counts]
    assert list(chain.from_iterable(images_of(share.begin, share.end) for share in counting)) == images_of(
        0, batch_size
    )
    held = [number_of_groups(share.begin, share.end, batch_size) for share in counting]
    assert len(counting) == min(size, len(groups(batch_size)))
    assert max(held) - min(held) <= 1, "even to one group"
    assert {share.total for share in shares} == {batch_size}


@settings(max_examples=300, deadline=None)
@given(SIZES, COUNTS)
def test_a_borrowed_share_is_a_group_that_does_not_count(batch_size: int, size: int) -> None:
    shares = shares_of(batch_size, size)
    for share in shares:
        assert len(share) == share.end - share.begin >= 1, "nobody may stay away from the exchange of gradients"
        assert share.images == (len(share) if share.counts else 0)
        if not share.counts:
            assert (share.begin, share.end) in groups(batch_size)
            assert share.weight == 0
    assert sum(share.images for share in shares) == batch_size
    assert sum(share.weight for share in shares) == pytest.approx(1, abs=1e-12)
    assert shares[0].counts, "rank 0 always has images of its own"


def test_shares_by_hand() -> None:
    """35 images: eight groups of four and one of three, for two, and for nine that are eleven processes."""
    assert [(share.begin, share.end) for share in shares_of(35, 2)] == [(0, 20), (20, 35)]
    eleven = shares_of(35, 11)
    assert sorted(len(share) for share in eleven if share.counts) == [3] + [4] * 8
    assert [(share.begin, share.end, share.images, share.weight) for share in eleven if not share.counts] == [
        (32, 35, 0, 0.0)
    ] * 2
    assert shares_of(32, 1) == [Share(0, 32, 32)]
    assert [share.weight for share in shares_of(32, 4)] == [0.25] * 4


# -- micro-batches ----------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(SIZES, COUNTS, COUNTS, st.data())
def test_micro_batches_partition_a_share_into_whole_groups(
    batch_size: int, size: int, count: int, data: st.DataObject
) -> None:
    share = share_of(batch_size, data.draw(st.integers(0, size - 1)), size)
    parts = micro_batches(share, count)
    assert [part.begin for part in parts] == [share.begin, *(part.end for part in parts[:-1])]
    assert parts[-1].end == share.end
    held = [number_of_groups(part.begin, part.end, batch_size) for part in parts]
    assert min(held) >= 1
    assert max(held) - min(held) <= 1
    assert len(parts) == min(count, number_of_groups(share.begin, share.end, batch_size))
    assert {(part.total, part.counts) for part in parts} == {(batch_size, share.counts)}
    assert sum(part.weight for part in parts) == pytest.approx(share.weight, abs=1e-12)


# -- mixing of parts --------------------------------------------------------------------------------------------------

MIXINGS = {
    "mixup": {"mode": "mixup"},
    "cutmix": {"mode": "cutmix"},
    "mixup or cutmix": {"mode": "mixup_cutmix"},
    "logits": {"mode": "mixup", "strategy": "mix_logits"},
}
BATCH_SIZES = [*range(1, 42), 63, 64, 65, 78, 127, 128, 129, 200]
PROCESSES = [1, 2, 3, 4, 5, 8, 9, 40]


def parts_of(batch_size: int) -> set[Share]:
    """Every part that some process, or some micro-batch of one, has of a batch."""
    shares = {share for size in PROCESSES for share in shares_of(batch_size, size)}
    return shares | {part for share in shares for count in (2, 3, 100) for part in micro_batches(share, count)}


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_partners_stay_within_every_part_and_form_one_cycle_a_group(batch_size: int) -> None:
    partners = draw_partners(np.random.default_rng(batch_size), batch_size)
    for part in parts_of(batch_size):
        within = partners[part.begin : part.end]
        assert sorted(within) == images_of(part.begin, part.end)
    for begin, end in groups(batch_size):
        seen = [begin]
        while partners[seen[-1]] != begin:
            seen.append(int(partners[seen[-1]]))
        assert sorted(seen) == images_of(begin, end), "from one image on, everybody of the group and then it again"
        assert batch_size == 1 or all(one != other for one, other in pairwise(seen))


@pytest.mark.parametrize("mixing", MIXINGS)
def test_the_mixing_of_a_part_is_that_part_of_the_mixed_whole_to_the_bit(mixing: str) -> None:
    options = MIXINGS[mixing]
    mixup = MixupOptions(alpha=0.7, target_mix_strategy=options.get("strategy", "mix_input"))  # type: ignore[arg-type]
    combine = Combiner(CombinerOptions(mode=options["mode"], mixup=mixup), seed=4)  # type: ignore[arg-type]
    random = torch.Generator().manual_seed(0)
    changed = 0
    for batch_size in BATCH_SIZES:
        images = torch.randn(batch_size, 3, 5, 7, generator=random)
        targets = torch.randint(10, (batch_size,), generator=random)
        logits = torch.randn(batch_size, 2, 10, generator=random)
        whole = combine(images, targets, epoch=3, step=batch_size)
        assert whole.partner is not None
        mixed_logits = whole.mix_logits(logits)
        for part in parts_of(batch_size):
            where = slice(part.begin, part.end)
            mixed = combine(images[where], targets[where], epoch=3, step=batch_size, part=part)
            assert mixed.partner is not None
            assert torch.equal(mixed.partner + part.begin, whole.partner[where])
            assert mixed.mix_lambda == whole.mix_lambda
            assert torch.equal(mixed.images, whole.images[where])
            assert torch.equal(mixed.targets[mixed.partner], targets[whole.partner][where])
            assert torch.equal(mixed.mix_logits(logits[where]), mixed_logits[where])
        changed += not (torch.equal(mixed_logits, logits) and torch.equal(whole.images, images))
    assert changed > len(BATCH_SIZES) / 2, "else there is nothing to compare"


def test_the_mean_of_the_parts_by_weight_is_that_of_the_whole() -> None:
    """The losses of micro-batches of all processes, each a mean over its images and weighed by its part."""
    values = torch.rand(78, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for size in PROCESSES:
        parts = [part for share in shares_of(78, size) for part in micro_batches(share, 3)]
        total = sum(part.weight * float(values[part.begin : part.end].mean()) for part in parts)
        assert total == pytest.approx(float(values.mean()), abs=1e-12)
