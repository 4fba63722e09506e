"""Odd configurations, checkpoints and files, each with a verdict from the documentation."""
