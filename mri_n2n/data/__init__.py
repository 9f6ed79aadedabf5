"""Volumes in, memory-mapped slices out."""
