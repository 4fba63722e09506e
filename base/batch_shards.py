"""How a global batch is cut: into groups that mix among themselves, and by whole groups into shards and micro-batches.

The groups are a function of the batch's size alone. So the processes that share a batch, and the micro-batches that a
process takes one after the other, mix the very images that one process mixes at once, and none has to be sent around.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

_LARGEST_GROUP = 16


@dataclass(frozen=True)
class BatchShard:
    """Images `begin` … `end` − 1 of a global batch of `total`.

    Attributes:
        is_placeholder: true where a process without images of its own has borrowed some, to take part in the exchange
            of gradients: they must not count twice.
    """

    begin: int
    end: int
    total: int
    is_placeholder: bool = False

    def __len__(self) -> int:
        return self.end - self.begin

    @property
    def num_counted(self) -> int:
        """Images that count: their number, or 0."""
        return 0 if self.is_placeholder else len(self)

    @property
    def weight(self) -> float:
        """The shard's part in the mean over the global batch, 0 … 1."""
        return self.num_counted / self.total

    def split(self, count: int) -> list[BatchShard]:
        """The shard cut into at most `count` parts of whole groups, as evenly as they go."""
        if count == 1:
            return [self]
        within = [(begin, end) for begin, end in groups(self.total) if self.begin <= begin < self.end]
        parts = [part for part in _split(within, count) if part]
        return [BatchShard(part[0][0], part[-1][1], self.total, self.is_placeholder) for part in parts]


def group_size(batch_size: int) -> int:
    """Images of a group: at most 16, and small enough that a batch of 16 or more has eight groups."""
    return max(2, min(_LARGEST_GROUP, batch_size // 8))


def groups(batch_size: int) -> list[tuple[int, int]]:
    """(begin, end) of each group of a batch; the last may have fewer images than the others, or one more."""
    # an image left over by itself joins the group before it: alone it would be its own partner
    begins = range(0, max(batch_size - 1, 1), group_size(batch_size))
    return list(pairwise([*begins, batch_size]))


def shard_of(batch_size: int, rank: int, size: int) -> BatchShard:
    """What process `rank` of `size` takes of a global batch: whole groups, as evenly as they go.

    Where there are fewer groups than processes, some borrow the last group; it does not count for them.
    """
    own = _split(groups(batch_size), size)[rank]
    if not own:
        begin, end = groups(batch_size)[-1]
        return BatchShard(begin, end, batch_size, is_placeholder=True)
    return BatchShard(own[0][0], own[-1][1], batch_size)


def _split(items: list[tuple[int, int]], count: int) -> list[list[tuple[int, int]]]:
    """`count` runs of consecutive items whose lengths differ by one at most; the empty ones are not the first."""
    bounds = [-(-number * len(items) // count) for number in range(count + 1)]
    return [items[begin:end] for begin, end in pairwise(bounds)]
