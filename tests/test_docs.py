"""What the documentation says is tried."""

import json
import re
import shlex
import tomllib
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from conftest import Answer
from documentation_material import Material
from documented import (
    LOOP,
    MADE_SMALL,
    NEEDED,
    NOT_RUN,
    ONE_AFTER_THE_OTHER,
    PAGES,
    PYTHON_ELSEWHERE,
    READ_AS,
    ROOT,
    SHOWN,
    Block,
    arguments,
    blocks,
    smaller,
    unrolled,
    why_not,
)

OTHERS = {
    "--env-manager",
    "--help",
    "--gpus",
    "--device",
    "--build-arg",
    "--memory",
    "--network",
    "--read-only",
    "--cap-drop",
}  # of docker and mlflow


def test_the_api_example_learns(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks("docs/api.md")
    lines = [line for line in block.text.splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(lines) <= 20
    exec(compile(block.text, "docs/api.md", "exec"), {"__name__": "documented"})
    before, after = (float(number) for number in re.findall(r"[\d.]+(?= dB)", capsys.readouterr().out))
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


@pytest.fixture(scope="session")
def material(heads: Path, prepared: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material(tmp_path_factory.mktemp("material"), heads, prepared, pictures)


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(
    page: str, cli: Callable[..., Answer], material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block of every page: its commands in order, each section in a folder of its own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", material.tracking)
    monkeypatch.setattr("rendering.interiors.sets.SIZE", (12, 16))  # of the render that measures a room's brightness
    monkeypatch.setattr("rendering.interiors.sets.SPP", 2)
    folder, names = tmp_path, {"__name__": "documented"}
    for number, (section, group) in enumerate(groupby(blocks(page), key=lambda block: block.section)):
        if page not in ONE_AFTER_THE_OTHER:
            folder = tmp_path / str(number)
            folder.mkdir()
        monkeypatch.chdir(folder)
        for name, what in NEEDED.get(f"{page}#{section}", {}).items():
            material.put(what, folder / name)
        for block in group:
            run_block(block, cli, folder, names)


def run_block(block: Block, cli: Callable[..., Answer], folder: Path, names: dict[str, Any]) -> None:
    where = f"{block.page}:{block.line}"
    if block.language in SHOWN:
        assert not re.search(r"^(\$ |mri-n2n )", block.text, re.M), f"{where}: commands are not of `{block.language}`"
    elif block.language == "python":
        if block.page not in PYTHON_ELSEWHERE:
            exec(compile(block.text, where, "exec"), names)  # with the names of the blocks before
    else:
        assert block.language == "", f"{where}: say in tests/documented.py what a test does with `{block.language}`"
        for command in block.commands:
            check_command(LOOP.sub(r"\3", command), where)
            for each in unrolled(command, folder) if why_not(command) is None else []:
                answer = cli(*arguments(smaller(each), folder)[1:])
                assert answer.code == 0, f"{where}: {each}\n{answer.err}\nWhat it needs: NEEDED in documented.py"


def check_command(command: str, where: str) -> None:
    """That there is such a command with such options, even if it is not run."""
    words = shlex.split(command)
    if "-m pipelines" in command:
        words = ["mri-n2n", *words[words.index("pipelines") + 1 :]]
    if words[0] == "mri-n2n":
        parse(words[1:])
        return
    assert why_not(command), f"{where}: `{command}` is neither run nor named in tests/documented.py"
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), where
    for extra in re.findall(r"(?:mri-n2n|\.)\[(.+?)\]", command):
        assert extra in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"], where
    if words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
        source = (ROOT / (words[2].replace(".", "/") + ".py")).read_text()
        assert all(f'"{word}"' in source for word in words if word.startswith("--")), where


def test_what_the_demo_says_to_do_next_can_be_done() -> None:
    (recipe,) = re.findall(r"^demo: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    said = re.findall(r"^\t@echo \".*mri-n2n (.+)\"$", recipe, re.M)
    for command in said:
        parse(shlex.split(command))
    assert said[-1] == "runs compare demo clean"
    assert "report demo" in said


def parse(words: list[str]) -> None:
    """Read arguments and options as the command line does, without doing anything."""
    from typer.main import get_command

    from pipelines.cli import app

    command, context = get_command(app), None
    while commands := getattr(command, "commands", None):
        context = command.make_context(words[0], words, parent=context)
        command = commands[words[0]]
        words = words[1:]
    command.make_context("documented", words, parent=context)


def test_what_is_not_run_is_still_in_the_documentation() -> None:
    commands = [
        command for page in PAGES for block in blocks(page) if block.language == "" for command in block.commands
    ]
    for pattern in (*NOT_RUN, *MADE_SMALL):
        assert any(re.match(pattern, command) for command in commands), pattern
    everything = "".join((ROOT / page).read_text() for page in PAGES)
    assert all(what in everything for what in READ_AS)
    for page, test in PYTHON_ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text()
    sections = {f"{page}#{block.section}" for page in PAGES for block in blocks(page)}
    assert set(NEEDED) <= sections
    run = [command for command in commands if why_not(command) is None]
    assert len(run) > len(commands) / 2


@pytest.mark.parametrize(
    ("language", "text", "said"),
    [
        ("", "rm --recursive data", "neither run nor named"),
        ("", "mri-n2n train data --no-such-option", "no-such-option"),
        ("", "mri-n2n no-such-command", "no-such-command"),
        ("", "make no-such-target", "docs/new.md:1"),
        ("", "pip install 'mri-n2n[no-such-extra]'", "docs/new.md:1"),
        ("", "mri-n2n evaluate no-such-run data", "no run at no-such-run"),
        ("text", "mri-n2n train data", "commands are not of `text`"),
        ("julia", "1 + 1", "what a test does with `julia`"),
        ("python", "import no_such_module", "no_such_module"),
    ],
)
def test_code_that_would_not_run_is_found(
    cli: Callable[..., Answer], tmp_path: Path, language: str, text: str, said: str
) -> None:
    with pytest.raises(Exception, match=said):  # of whatever kind: the page's test would fail
        run_block(Block("docs/new.md", "New", language, text, 1), cli, tmp_path, {})


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith("docs/results")])
def test_options_in_the_text_exist(page: str) -> None:
    """In sentences and tables, where no command is to be run."""
    from typer.main import get_command

    from pipelines.cli import app

    text = "".join(
        re.findall(r"`[^`\n]+`", re.sub(r"^ *```.*?^ *```$", "", (ROOT / page).read_text(), flags=re.M | re.S))
    )
    parameters = [option for command in walk(get_command(app)) for option in command.params]
    options = {name for option in parameters for name in (*option.opts, *option.secondary_opts)}
    for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text):
        assert option in options | OTHERS, option


def walk(command):
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from walk(below)
