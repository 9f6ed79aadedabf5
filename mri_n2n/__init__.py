"""mri-n2n: train MRI reconstruction from undersampled, noisy scans only."""

__version__ = "0.1.0"
