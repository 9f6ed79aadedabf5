"""A hospital's studies through a trained network, unattended: `mri-n2n batch`."""
