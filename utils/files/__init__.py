"""Files that are whole or absent: atomic writing, checkpoints, what a run was made by."""
