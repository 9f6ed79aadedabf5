"""Pages that are made when the site is built: home from the README, the changelog, and the reference from the code."""

import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
REFERENCE = {  # page: its title and where its modules are
    "training": ("Training engine", ["mri_n2n/training"]),
    "kspace": ("K-space", ["mri_n2n/kspace"]),
    "networks": ("Networks", ["mri_n2n/networks"]),
    "mri": ("MRI", ["mri_n2n"]),
    "data": ("Data", ["mri_n2n/data", "mri_n2n/data/dicom"]),
    "comparison": ("Comparison of runs", ["mri_n2n/comparison"]),
    "reports": ("Reports", ["mri_n2n/pages", "pipelines/report"]),
    "interop": ("MONAI", ["mri_n2n/interop"]),
    "photographs": ("Photographs", ["natural_images"]),
    "renderings": ("Renderings", ["rendering", "rendering/interiors"]),
    "hospital": ("Batch and DICOM node", ["pipelines/batch", "pipelines/node"]),
}
BESIDE = re.compile(r"\]\((?:\.\./)*(LICENSE|CHANGELOG\.md|deploy/[^)]+)\)")  # what pages link to outside of docs/


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and the files beside docs/ that pages link to."""
    made = {
        "index.md": (ROOT / "README.md").read_text().replace("](docs/", "]("),
        "CHANGELOG.md": (ROOT / "CHANGELOG.md").read_text().replace("](docs/", "]("),
        "LICENSE": (ROOT / "LICENSE").read_text(),
        "reference/commands.md": commands(),
    }
    made |= {f"reference/{name}.md": modules(title, folders) for name, (title, folders) in REFERENCE.items()}
    made |= {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "deploy").iterdir()}
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point links that leave docs/ at the copies within the site."""
    return BESIDE.sub("](" + "../" * page.file.src_uri.count("/") + r"\1)", markdown)


def commands() -> str:
    """Every command's help, by typer's own writer."""
    command = [sys.executable, "-m", "typer", "pipelines.cli", "utils", "docs", "--name", "mri-n2n"]
    done = subprocess.run(
        [*command, "--title", "Command line"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def modules(title: str, folders: list[str]) -> str:
    """The public names of every module in these folders, but for command lines, from their docstrings."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in folders
        for path in sorted((ROOT / folder).glob("*.py"))
        if path.stem not in ("__init__", "cli")
    ]
    return "\n\n".join([f"# {title}", *(f"::: {name}" for name in names)]) + "\n"
