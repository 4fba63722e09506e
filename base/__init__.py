"""The contracts between the rooms: what a data loader hands out, what a trainer runs."""

from base.base_data_loader import BaseDataLoader, Batch

__all__ = ["BaseDataLoader", "Batch"]
