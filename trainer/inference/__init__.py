"""Trained networks in use: on images without labels, and exported for other programs."""
