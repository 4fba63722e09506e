"""Logs, progress bars, running means, tables, plots and TensorBoard."""
