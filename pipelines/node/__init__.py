"""A DICOM node: series are received, reconstructed by a batch, and sent on: `mri-n2n dicom-node`."""
