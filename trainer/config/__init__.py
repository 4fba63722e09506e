"""The schema of a run configuration, its rules and its warnings."""
