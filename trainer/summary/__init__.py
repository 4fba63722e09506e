"""Many runs at once: found (`folders`), grouped by configuration (`groups`), compared (`comparisons`), as `tables`."""
