"""`python -m pipelines` is `mri-n2n`."""

from pipelines.cli import main

main()
