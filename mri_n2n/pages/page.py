"""A page: a template and its content as one HTML file that fetches nothing, ever."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri_n2n import __version__
from mri_n2n.durable import write_text
from mri_n2n.errors import UsageError

TEMPLATES = Path(__file__).parent / "templates"
MARK = '<meta name="generator" content="mri-n2n'  # by which a page of ours is known
HEAD = 2000  # bytes in which it stands


@dataclass(frozen=True)
class Picture:
    """A picture as the page holds it. source: a data URI; width and height in pixels; alt: what it shows, in words."""

    source: str
    width: int
    height: int
    alt: str


def data_uri(content: bytes, kind: str) -> str:
    """A picture's file as an address that needs no fetching."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def rendered(template: str, content: Mapping[str, Any]) -> str:
    """The page. All text in `content` is escaped, wherever it stands; only charts are not, which are `Markup`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    own = {"script": script, "style": style, "script_sha256": digest, "version": __version__}
    return environment.get_template(template).render(**own, **content)


def write_page(path: Path, text: str, *, overwrite: bool) -> None:
    """Write a page, whole or not at all. What is there is replaced if it is such a page, or with `overwrite`."""
    check_replaceable(path, overwrite=overwrite)
    write_text(path, text)


def check_replaceable(path: Path, *, overwrite: bool) -> None:
    """Raise unless a page may be written to `path`."""
    if path.is_dir():
        raise UsageError(f"{path} is a directory, expected a file to write to.")
    if path.exists() and not overwrite and not _ours(path):
        raise UsageError(f"{path} exists and is no page of this program. Choose another place or add --overwrite.")


def _ours(path: Path) -> bool:
    with path.open("rb") as file:
        return MARK.encode() in file.read(HEAD)
