"""From a checkpoint to results: predictions, test distributions, scores, result files."""
