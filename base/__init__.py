"""The contracts between the rooms: what a data loader hands out, what every training run does."""

from base.base_data_loader import BaseDataLoader, Batch, count_batches
from base.base_trainer import BaseTrainer, RunState, Stateful, TrainerOptions
from base.batch_shards import Share, micro_batches, share_of
from base.monitor import Monitor
from base.run_folder import RunFolder

__all__ = [
    "BaseDataLoader",
    "BaseTrainer",
    "Batch",
    "Monitor",
    "RunFolder",
    "RunState",
    "Share",
    "Stateful",
    "TrainerOptions",
    "count_batches",
    "micro_batches",
    "share_of",
]
