"""Furnished rooms drawn from a seed, as scenes of Mitsuba 3."""
