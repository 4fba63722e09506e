"""The training loop, mixing, schedules, evaluation and the protocols of shifted test distributions."""
