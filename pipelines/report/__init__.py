"""Reports of runs, of a hospital's studies and of comparisons."""
