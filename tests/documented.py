"""The code of the documentation: which blocks there are, what they need, and why some cannot be run here."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]

# Pages whose Python has a test of its own, which also looks at what comes out.
PYTHON_ELSEWHERE = {
    "docs/api.md": "tests/test_docs.py",
    "docs/monai.md": "tests/interop/test_page.py",
    "docs/mlflow.md": "tests/test_logged_model.py",
    "docs/rendering.md": "tests/rendering/test_online.py",
    "docs/sweeps.md": "tests/test_sweeps_page.py",
}

# Blocks in these languages are no commands: what is printed, what lies in a file.
SHOWN = ("text", "csv", "json", "dockerfile")

# What a section needs before its first command; `Material` says what the words mean.
NEEDED = {
    "README.md#On IXI, or your own volumes": {"IXI-T1": "heads", "volume.nii.gz": "head"},
    "README.md#Photographs too": {
        "first": "exposures",
        "second": "second_exposures",
        "noisy": "exposures",
        "reference": "pictures",
    },
    "README.md#And renderings": {"images": "openexr"},
    "docs/comparing.md#Which runs there are": {"runs/RUN": "run"},
    "docs/comparing.md#Side by side": {"RUN": "scored_run", "SECOND": "other_scored_run"},
    "docs/comparing.md#One file for somebody else": {"RUN": "run"},
    "docs/data.md#A folder of volumes": {"SOURCE": "heads"},
    "docs/data.md#Real pairs": {"FIRST": "first_scans", "SECOND": "second_scans"},
    "docs/data.md#Raw k-space": {"VOLUMES": "heads"},
    "docs/data.md#To train on": {"SCANS": "scans"},
    "docs/hospital.md#A hospital's studies, unattended": {"STUDIES": "scans", "VOLUMES": "heads", "RUN": "run"},
    "docs/hospital.md#PACS": {"OUTPUT": "output"},
    "docs/hospital.md#Many machines": {"STUDIES": "scans", "RUN": "run"},
    "docs/monai.md#A run as a bundle": {"first": "run"},
    "docs/monai.md#The network alone": {"first": "run"},
    "docs/mlflow.md#A network as a model": {"RUN": "run"},
    "docs/photos.md#Your own noisy pairs": {
        "first": "exposures",
        "second": "second_exposures",
        "noisy": "exposures",
    },
    "docs/photos.md#Clean photographs, and noise of your choice": {
        **dict.fromkeys(("photographs", "kodak", "bsd300"), "pictures"),
        "noisy.jpg": "photograph",
    },
    "docs/photos.md#How long": {"photographs": "pictures"},
    "docs/rendering.md#Renderings": {"images": "openexr"},
    "docs/rendering.md#Frames of other renderers": {"frames": "frames"},
    "docs/results/mri.md#Small scale, two CPU cores": {"ixi-t1-2mm": "heads"},
    "docs/results/rendering.md#A longer training": {
        "frames/training-8spp-0": "frames",
        "frames/validation-8spp-0": "other_frames",
    },
    "docs/reports.md#Reports": {"RUN": "run"},
    "docs/reports.md#Of a hospital's studies": {"OUTPUT": "output"},
    "docs/reports.md#Of a comparison": {"RUN": "scored_run", "SECOND": "other_scored_run"},
    "docs/reports.md#Watching a training": {"DATA": "prepared"},
    "docs/sweeps.md#Several seeds": {"DATA": "prepared", "runs/other": "run"},
    "docs/training.md#Train": {"DATA": "prepared"},
    "docs/training.md#Raw k-space, complex": {"SCANS": "scans"},
    "docs/training.md#Evaluate": {"DATA": "prepared", "RUN": "run"},
    "docs/training.md#Reconstruct": {"SCANS": "scans", "VOLUMES": "heads", "RUN": "run"},
}
ONE_AFTER_THE_OTHER = ("docs/tutorial.md",)  # pages whose sections go on where the last one ended

# The commands are run as they stand, but small: of an option that is given twice the last one counts.
MADE_SMALL = {
    r"mri-n2n prepare ixi": "--train 2 --validation 2 --slices 14:19",
    r"mri-n2n prepare pairs": "--train 1 --validation 1 --slices 14:19",
    r"mri-n2n prepare kspace": "--train 2 --validation 2 --slices 20:23",
    r"mri-n2n phantom": "--subjects 4 --size 48",
    r"mri-n2n (photos |render )?train": "--steps 2 --batch-size 2",
    r"mri-n2n photos train": "--crop 32 --width 8",
    r"mri-n2n render train": "--crop 32 --width 8",
    r"mri-n2n evaluate": "--no-classical",
    r"mri-n2n render interiors": "--training 1 --validation 1",
    r"mri-n2n render frames": "--views 2 --spp 1 --reference-spp 2 --size 48",
    r"mri-n2n render flythrough": "--frames 2 --spp 1 --reference-spp 2 --size 48 --crop 32 --width 8",
}
READ_AS = {
    "--epochs 300": "",  # it clashes with --steps
    "phantom-012": "phantom-004",
    "--seeds 0..4": "--seeds 0,1",
    "compare RUN RUN ...": "compare RUN SECOND",
    "compare RUN RUN": "compare RUN SECOND",
    "batch STUDIES ANOTHER": "batch VOLUMES ANOTHER",  # raw k-space in the line before, volumes in this
}

# What is not run here, and why. Of our own commands at least the options are read.
NOT_RUN = {
    r"make \w": "makes an environment of its own, or runs all tests; that there is such a target is checked",
    r"(python3 -m venv|source |pip install)": "installs; that there is such an extra is checked",
    r"docker ": "needs Docker; `make container-test` does the same by other means",
    r"torchrun ": "takes several machines; tests/training/test_world.py has two processes",
    r"mri-n2n .*--gpus ": "takes several GPUs; tests/training/test_world.py has two processes",
    r"mri-n2n benchmark": "takes minutes; tests/pipelines/test_benchmark.py has a small one",
    r"python -m benchmarks\.": "takes minutes to hours; that there is such a module and option is checked",
    r"mri-n2n reproduce": "takes minutes to hours; the tests of pipelines/ run every one at the scale smoke",
    r"mri-n2n dicom-node": "works until it is stopped; tests/pipelines/test_node.py",
    r"curl ": "takes a PACS; `make pacs-test` has one",
    r"mri-n2n runs ui": "serves until it is stopped; tests/comparison/test_ui.py",
    r"(cd bundle/|python -m monai\.)": "is MONAI's; tests/interop/test_bundle.py runs what stands here",
    r"(export MLFLOW_|mlflow run )": "takes minutes; tests/test_mlproject.py runs its entries",
}


LOOP = re.compile(r"for (\w+) in (\S+); do (.+); done")


@dataclass(frozen=True)
class Block:
    """A block of code on a page: the nearest heading above, its language, its text and its line."""

    page: str
    section: str
    language: str
    text: str
    line: int

    @property
    def commands(self) -> list[str]:
        """Its commands, one a line with what a backslash continues, without remarks."""
        lines = [re.split(r"(?:^|\s)#", line)[0] for line in self.text.replace("\\\n", " ").splitlines()]
        return [" ".join(line.split()) for line in lines if line.strip()]


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page, in order."""
    section, begun, lines = "", None, []
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        fence = re.match(r" *```(\w*)$", line)
        if begun is None and fence:
            begun, lines = (fence[1], number), []
        elif begun is not None and line.strip() == "```":
            yield Block(page, section, begun[0], "\n".join(lines), begun[1])
            begun = None
        elif begun is not None:
            lines.append(line)
        elif heading := re.match(r"#+ (.*)", line):
            section = heading[1]


def why_not(command: str) -> str | None:
    """Why this command is not run here, or None."""
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, command)), None)


def smaller(text: str) -> str:
    """A command as it is run here."""
    for what, instead in READ_AS.items():
        text = text.replace(what, instead)
    return " ".join([text, *(options for which, options in MADE_SMALL.items() if re.match(which, text))])


def unrolled(command: str, folder: Path) -> list[str]:
    """The commands of a loop over files of a folder; of anything else, itself."""
    if not (loop := LOOP.fullmatch(command)):
        return [command]
    return [loop[3].replace(f"${loop[1]}", str(path.relative_to(folder))) for path in sorted(folder.glob(loop[2]))]


def arguments(command: str, folder: Path) -> list[str]:
    """What a shell in this folder would hand to the program."""
    found: list[str] = []
    for word in shlex.split(command):
        here = sorted(str(path.relative_to(folder)) for path in folder.glob(word)) if "*" in word else []
        found += here or [word]
    return found
