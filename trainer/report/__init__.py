"""A page about a run: what its files say (`content`), drawn (`pictures`), and written as HTML (`page`)."""
