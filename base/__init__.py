"""The contracts between the rooms: what a data loader hands out, what every training run does."""

from base.base_data_loader import VIEWS, BaseDataLoader, Batch, View, count_batches
from base.base_trainer import BaseTrainer
from base.batch_shards import BatchShard, shard_of
from base.checkpoint_parts import CheckpointParts, Stateful
from base.monitor import Monitor
from base.run_folder import RunFolder
from base.run_state import RunState
from base.step import Step
from base.trainer_options import TrainerOptions

__all__ = [
    "VIEWS",
    "BaseDataLoader",
    "BaseTrainer",
    "Batch",
    "BatchShard",
    "CheckpointParts",
    "Monitor",
    "RunFolder",
    "RunState",
    "Stateful",
    "Step",
    "TrainerOptions",
    "View",
    "count_batches",
    "shard_of",
]
