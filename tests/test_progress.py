"""What is said of progress where nobody sees it: whole lines, now and then."""

import io
import sys

import pytest

from mri_n2n import progress
from mri_n2n.progress import bar, say


def written(monkeypatch: pytest.MonkeyPatch, every: float) -> str:
    """By three pieces of work, on a stream that is no terminal."""
    monkeypatch.setattr(progress, "EVERY", every)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    work = bar(range(3), description="studies", unit="study")
    for number in work:
        for _ in bar(range(2), description="tiles", unit="tile", leave=False):
            pass
        say(f"number {number}")
        work.set_postfix_str("well")
    return str(sys.stderr.getvalue())


def test_a_log_gets_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = written(monkeypatch, every=0.0)
    assert "\r" not in text
    assert "\x1b" not in text
    lines = text.splitlines()
    assert "" not in lines
    assert [line for line in lines if line.startswith("number")] == ["number 0", "number 1", "number 2"]
    assert any(line.startswith("studies: 3/3 [") and line.endswith(", well") for line in lines), lines
    assert not [line for line in lines if line.startswith("tiles")]


def test_what_is_soon_done_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(monkeypatch, every=30.0).splitlines() == ["number 0", "number 1", "number 2"]
