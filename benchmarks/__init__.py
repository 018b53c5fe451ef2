"""Measurements: each module is a command that prints medians, spreads and ratios of one run."""
