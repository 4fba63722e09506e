"""Many runs: found (`folders`), listed (`listing`), grouped by configuration, compared, and written as `tables`."""
