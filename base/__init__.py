"""The contracts between the rooms: what a data loader hands out, what every training run does."""

from base.base_data_loader import BaseDataLoader, Batch, View, count_batches
from base.base_trainer import BaseTrainer, RunState, Stateful, TrainerOptions
from base.batch_shards import BatchShard, shard_of
from base.monitor import Monitor
from base.run_folder import RunFolder

__all__ = [
    "BaseDataLoader",
    "BaseTrainer",
    "Batch",
    "BatchShard",
    "Monitor",
    "RunFolder",
    "RunState",
    "Stateful",
    "TrainerOptions",
    "View",
    "count_batches",
    "shard_of",
]
