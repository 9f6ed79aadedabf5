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


@pytest.mark.parametrize("name", ["mri", "performance", "photos", "rendering"])
def test_the_tables_of_results_are_made_from_what_was_measured(name: str) -> None:
    from benchmarks.pages import RESULTS, page_from_results

    page = (RESULTS / f"{name}.md").read_text()
    assert page_from_results(page) == page, "write them anew: make results"
    rest = re.sub(r"<!-- made from .*?<!-- end -->", "", page, flags=re.S)
    for table in re.findall(r"(?:^\|.*\|\n)+", rest, re.M):
        assert table.startswith("| | |\n"), f"a table of numbers that is made from nothing: {table}"


def test_a_changed_number_changes_its_page(tmp_path: Path) -> None:
    from benchmarks.pages import page_from_results

    page = "# Title\n\n<!-- made from x.json: scores -->\n\n| old |\n\n<!-- end -->\n\nText.\n"
    columns = [{"title": ""}, {"title": "dB", "digits": 2}]
    rows = [
        ["a", 1234.5],
        ["b", [-1, -2, 0.5]],
        ["c", {"difference": [1.5, -0.25, 3]}],
        ["d", {"difference": {"from": -1, "to": 2.5}}],
        ["e", None],
    ]
    (tmp_path / "x.json").write_text(json.dumps({"scores": {"columns": columns, "rows": rows}}))
    lines = page_from_results(page, tmp_path).splitlines()
    assert lines[4:11] == [
        "| | dB |",
        "| --- | --- |",
        "| a | 1,234.50 |",
        "| b | -1.00 [-2.00, 0.50] |",
        "| c | +1.50 [−0.25, +3.00] |",
        "| d | −1.00 to +2.50 |",
        "| e | |",
    ]
    assert (lines[:3], lines[-3:]) == (page.splitlines()[:3], ["<!-- end -->", "", "Text."])


def test_the_readme_has_the_numbers_of_the_results() -> None:
    text = (ROOT / "README.md").read_text().split("## What it reaches")[1].split("\n## ")[0]
    results = (ROOT / "docs/results/mri.md").read_text()
    numbers = re.findall(r"\d+\.\d+ \[[^]]+\]", "".join(re.findall(r"^\|.*$", text, re.M)))
    assert len(numbers) == 9
    for number in numbers:
        assert number in results, number


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
