"""How fast this machine does the work: `mri-n2n benchmark`."""
