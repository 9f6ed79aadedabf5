"""What the documentation says is tried."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_api_example_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(), re.S)
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(lines) <= 20
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    before, after = (float(number) for number in re.findall(r"[\d.]+(?= dB)", done.stdout))
    assert after > before + 1


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if not target.startswith(("http:", "https:")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_tables_of_speed_are_made_from_what_was_measured() -> None:
    from benchmarks import growth, hospital, peers
    from pipelines.benchmark.table import table

    folder = ROOT / "docs/results"
    page = (folder / "performance.md").read_text()
    makers = {
        "performance-cpu.json": table,
        "performance-gpu.json": table,
        "peers-cpu.json": peers.table,
        "growth-cpu.json": growth.table,
        "hospital-cpu.json": hospital.table,
    }
    for name, made in makers.items():
        assert made(json.loads((folder / name).read_text())) in page, name


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        *(
            f"docs/{name}.md"
            for name in (
                "data",
                "training",
                "photos",
                "hospital",
                "rendering",
                "monai",
                "reports",
                "comparing",
                "sweeps",
            )
        ),
    ],
)
def test_commands_in_the_documentation_exist(page: str) -> None:
    from typer.main import get_command

    from pipelines.cli import app

    root = get_command(app)
    others = r"^(torchrun|python -m monai)(.*\\\n)*.*$"  # their options are not ours
    text = re.sub(others, "", (ROOT / page).read_text(), flags=re.M)
    used = re.findall(r"mri-n2n ([a-z]+(?:-[a-z]+)?)(?: ([a-z0-9]+))?", text)
    assert used
    for first, second in used:
        assert first in root.commands, first
        below = getattr(root.commands[first], "commands", None)
        if below:
            assert second in below, (first, second)
    parameters = [option for command in walk(root) for option in command.params]
    options = {name for option in parameters for name in (*option.opts, *option.secondary_opts)}
    for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text):
        assert option in options | {"--help"}, option


def walk(command):
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from walk(below)
