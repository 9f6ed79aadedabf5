"""The physics of Cartesian MRI: Fourier transform, sampling density, acquisition."""
