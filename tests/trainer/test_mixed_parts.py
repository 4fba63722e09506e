"""The mixing of every part of a batch is that of the whole: nobody sends images around."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from base import BatchShard, Step, shard_of
from base.batch_shards import groups
from trainer.methods.mixing import Combiner, CombinerOptions, MixupOptions, draw_partners

MIXINGS = {
    "mixup": {"mode": "mixup"},
    "cutmix": {"mode": "cutmix"},
    "mixup or cutmix": {"mode": "mixup_cutmix"},
    "logits": {"mode": "mixup", "strategy": "mix_logits"},
}
BATCH_SIZES = [*range(1, 42), 63, 64, 65, 78, 127, 128, 129, 200]
PROCESSES = [1, 2, 3, 4, 5, 8, 9, 40]


def parts_of(batch_size: int) -> set[BatchShard]:
    """Every part that some process, or some micro-batch of one, has of a batch."""
    shards = {shard_of(batch_size, rank, size) for size in PROCESSES for rank in range(size)}
    return shards | {part for shard in shards for count in (2, 3, 100) for part in shard.split(count)}


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_partners_stay_within_every_part_and_form_one_cycle_a_group(batch_size: int) -> None:
    partners = draw_partners(np.random.default_rng(batch_size), batch_size)
    for part in parts_of(batch_size):
        within = partners[part.begin : part.end]
        assert sorted(within) == [*range(part.begin, part.end)]
    for begin, end in groups(batch_size):
        seen = [begin]
        while partners[seen[-1]] != begin:
            seen.append(int(partners[seen[-1]]))
        assert sorted(seen) == [*range(begin, end)], "from one image on, everybody of the group and then it again"
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
        whole = combine(images, targets, Step(3, batch_size))
        assert whole.partner is not None
        mixed_logits = whole.mix_logits(logits)
        for part in parts_of(batch_size):
            where = slice(part.begin, part.end)
            mixed = combine(images[where], targets[where], Step(3, batch_size), part)
            assert mixed.partner is not None
            assert torch.equal(mixed.partner + part.begin, whole.partner[where])
            assert mixed.targets.mix_lambda == whole.targets.mix_lambda
            assert torch.equal(mixed.images, whole.images[where])
            assert torch.equal(mixed.targets.partners, targets[whole.partner][where])
            assert torch.equal(mixed.mix_logits(logits[where]), mixed_logits[where])
        changed += not (torch.equal(mixed_logits, logits) and torch.equal(whole.images, images))
    assert changed > len(BATCH_SIZES) / 2, "else there is nothing to compare"
