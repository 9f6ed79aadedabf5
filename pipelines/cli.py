"""The command line: `mri-n2n`, also `python -m pipelines`."""

import errno
import io
import os
import signal
import sys
import time

from mri_n2n.cli import app
from mri_n2n.cli.runs import runs
from mri_n2n.errors import INTERRUPTED, UsageError
from natural_images.cli import photos
from pipelines.batch.cli import batch_command
from pipelines.benchmark.cli import benchmark_command
from pipelines.node.cli import dicom_node_command
from pipelines.paper.cli import reproduce
from pipelines.report.cli import export_command, report_command
from rendering.cli import render

EXTRAS = dict.fromkeys(("matplotlib", "mlflow", "pyvips", "sigpy", "SimpleITK"), "research")
EXTRAS |= dict.fromkeys(("fire", "jsonschema", "onnx", "onnxscript", "pytorch-ignite"), "monai")
EXTRAS |= {
    "mitsuba": "rendering",
    "OpenEXR": "rendering",
}  # what reconstruction does without, and the extra that brings it
LATER = 5.0  # seconds in which a failed process's others are stopped

app.add_typer(photos, name="photos")
app.add_typer(render, name="render")
app.add_typer(reproduce, name="reproduce")
app.command("report")(report_command)
runs.command("export")(export_command)
app.command("benchmark")(benchmark_command)
app.command("batch")(batch_command)
app.command("dicom-node")(dicom_node_command)


def _let_the_first_speak() -> None:
    """Where several processes train, the first tells what all of them met: the others are stopped before they do."""
    if os.environ.get("RANK", "0") != "0":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(LATER)


def main() -> None:
    """Run the command line: a `UsageError` is one line and exit code 2, anything else a bug with its traceback."""
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is half-written is cleared
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED and "RANK" not in os.environ:  # of several processes, the one that began them
            print("Interrupted.", file=sys.stderr)
        raise
    except UsageError as error:
        _let_the_first_speak()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        advice = f"Run: pip install 'mri-n2n[{EXTRAS[error.name]}]'"
        print(f"error: {error.name} is not installed here. {advice}", file=sys.stderr)
        sys.exit(2)
    except PermissionError as error:  # met by looking, before there is anything to read or write
        print(f"error: cannot reach {error.filename}: {error.strerror}. Check its permissions.", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # of standard output: whoever writes a file says which
        if error.filename is not None or error.errno != errno.ENOSPC:
            raise
        sys.stdout = io.StringIO()  # or Python would try again at its end
        print("error: cannot write to standard output: the disk is full. Free space.", file=sys.stderr)
        sys.exit(2)
    finally:
        signal.signal(signal.SIGTERM, earlier)
