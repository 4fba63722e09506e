"""Configurations: JSON files, the flags that override them, and their schema."""
