"""Test images that arrive in batches while their class prior changes; the estimated prior follows."""
