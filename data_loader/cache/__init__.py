"""Training images that were decoded and shrunk once: their files on the disk, how these are built, and reading them."""
