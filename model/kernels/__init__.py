"""Functions in C for what PyTorch does slowly on CPUs, and their loading."""
