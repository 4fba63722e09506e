"""From files to batches: long-tailed selection, image sets, test shifts, transforms and the config-facing loaders."""
