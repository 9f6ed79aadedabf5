"""Monte Carlo renderings: noise that no formula gives, from a real path tracer."""
