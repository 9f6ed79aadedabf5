"""Measured comparisons; each prints JSON and, with --output, writes it."""
