"""Photographs: synthetic corruptions, losses and baselines of §3.1 and §3.2, on the engine of `mri_n2n`."""
