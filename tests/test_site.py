"""The documentation as a site: complete, without a warning, and readable where there is no network."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
FETCHED = {"audio", "embed", "iframe", "img", "link", "object", "script", "source", "video"}


def test_the_site_is_whole_and_needs_no_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # links, anchors, and pages that mkdocs.yml does not name
    assert all(line.startswith("INFO") for line in (done.stdout + done.stderr).splitlines()), done.stderr
    nothing_is_fetched_from_elsewhere(tmp_path)
    equations_are_drawn_by_the_browser(tmp_path)
    the_reference_has_every_command_and_the_public_names(tmp_path)


class Fetched(HTMLParser):
    """What a page makes a browser fetch by itself."""

    def __init__(self, page: Path):
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        if tag in FETCHED:
            self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "data") and value]


def nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = [page for page in site.rglob("*.html") if page.name != "404.html"]
    assert len(pages) > 20
    for page in pages:
        for address in Fetched(page).addresses:
            assert (page.parent / address.split("#")[0]).exists(), (page.name, address)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", sheet.read_text()), sheet.name


def equations_are_drawn_by_the_browser(site: Path) -> None:
    assert (site / "method.html").read_text().count("<math") > 30
    for page in site.rglob("*.html"):
        assert "arithmatex" not in page.read_text(), page.name


def the_reference_has_every_command_and_the_public_names(site: Path) -> None:
    from typer.main import get_command

    from pipelines.cli import app

    page = (site / "reference/commands.html").read_text()
    for name, command in get_command(app).commands.items():
        for called in [name, *(f"{name} {below}" for below in getattr(command, "commands", {}))]:
            assert f"<code>mri-n2n {called}</code>" in page, called
    reference = "".join(page.read_text() for page in (site / "reference").glob("*.html"))
    for package in (ROOT / "mri_n2n").glob("*/__init__.py"):
        assert package.parent.name == "cli" or f'id="mri_n2n.{package.parent.name}.' in reference, package.parent.name
    for page, name in (("kspace", "mri_n2n.kspace.acquisition.acquire"), ("training", "mri_n2n.training.task.Task")):
        assert f'id="{name}"' in (site / f"reference/{page}.html").read_text(), name
