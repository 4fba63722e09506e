"""What everything else stands on: configuration, randomness, files, logs, tables and plots."""
