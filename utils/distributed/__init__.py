"""Devices and processes: what they are, how they are started, what they ask one another."""
