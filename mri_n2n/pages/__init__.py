"""Pages: what is known of a run or a study as one HTML file that needs nothing else."""
