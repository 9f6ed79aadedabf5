"""The composition root: the command line, and one file per figure or table of the paper."""
