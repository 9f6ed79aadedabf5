"""The command line: `mri-n2n`, also `python -m pipelines`."""

import sys

from mri_n2n.cli import app
from mri_n2n.errors import UsageError


def main() -> None:
    """Run the command line. A `UsageError` is one line and exit code 2; anything else is a bug and shows its traceback."""
    try:
        app()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
