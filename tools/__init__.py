"""Commands that stand on everything else: `python -m tools.NAME`."""
