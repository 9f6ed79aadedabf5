"""The command `report`, what it refuses, and how large and slow a page may be."""

import json
import re
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from comparison_runs import made_run
from conftest import Answer

from mri_n2n.comparison.arms import Arm
from mri_n2n.comparison.records import read_run
from mri_n2n.durable import alone
from mri_n2n.errors import UsageError
from mri_n2n.illustrations import (
    LONGEST,
    MOST_SLICES,
    IllustratedVolume,
    Illustration,
    picture_of_slice,
    read_illustrations,
    read_volume,
    write_illustrations,
    write_volume,
)
from mri_n2n.pages.charts import curves
from mri_n2n.pages.live import live_report
from mri_n2n.pages.side_by_side import side_by_side
from mri_n2n.run_directory import Run, create_run

CLI = Callable[..., Answer]


@pytest.fixture
def copied(evaluated: Run, tmp_path: Path) -> Path:
    """The evaluated run, to be damaged."""
    return Path(shutil.copytree(evaluated.directory, tmp_path / "runs" / "copied"))


def test_a_run_is_one_page(cli: CLI, copied: Path) -> None:
    answer = cli("report", "copied")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("Report: runs/copied/report.html (")
    text = (copied / "report.html").read_text(encoding="utf-8")
    assert str(copied.parent) not in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    for said in (
        "network with replacement",
        "SSIM",
        "validation-001",
        "weights, SHA-256",
        "mri-n2n reconstruct copied",
    ):
        assert said in text, said
    assert cli("report", "copied").code == 0  # ours is replaced
    assert cli("report", copied, "--output", "elsewhere.html").code == 0


def test_a_run_without_an_evaluation_says_what_to_do(cli: CLI, copied: Path) -> None:
    shutil.rmtree(copied / "evaluation")
    assert cli("report", "copied").code == 0
    text = (copied / "report.html").read_text(encoding="utf-8")
    assert "Not evaluated yet" in text
    assert json.loads((copied / "network.json").read_text())["sha256"] in text
    assert "mri-n2n evaluate copied DATA" in text
    assert "Drawn after 4 steps" in text


def test_an_older_evaluation_says_what_to_do(cli: CLI, copied: Path) -> None:
    (copied / "evaluation" / "illustrations.npz").unlink()
    (copied / "evaluation" / "volume.npz").unlink()
    assert cli("report", "copied").code == 0
    text = (copied / "report.html").read_text(encoding="utf-8")
    assert "evaluate the run again, with --overwrite" in text
    assert "zero-filled" in text


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("metrics.jsonl", b"", "has no metrics yet"),
        ("metrics.jsonl", b'{"step": 1, "lo\n', "it is damaged"),
        ("metrics.jsonl", b'{"step": 1, "loss": "<b>"}\n', "it is damaged"),
        ("evaluation/summary.json", b"{", "cannot read the summary"),
        ("evaluation/summary.json", b'{"methods": {"a": 1}}', "it is damaged"),
        ("evaluation/slices.csv", b"subject,method\n1,2\n", "cannot read the scores"),
        ("evaluation/illustrations.npz", b"PK\x03\x04 and no more", "it is damaged"),
        ("evaluation/volume.npz", b"", "it is damaged"),
        ("run.json", b"[]", "is not a run"),
        ("run.json", b"{", "cannot read the run description"),
    ],
)
def test_what_is_damaged_is_one_line(cli: CLI, copied: Path, file: str, content: bytes, said: str) -> None:
    (copied / file).write_bytes(content)
    before = sorted(copied.rglob("*"))
    answer = cli("report", "copied")
    assert (answer.code, answer.out) == (2, ""), answer
    assert answer.err.count("\n") == 1
    assert said in answer.err
    assert sorted(copied.rglob("*")) == before  # nothing half-written


@pytest.mark.parametrize(("name", "content"), [("step-x.png", None), ("step-9.png", b"no picture")])
def test_a_picture_that_is_none_of_ours_is_one_line(cli: CLI, copied: Path, name: str, content: bytes | None) -> None:
    shutil.rmtree(copied / "evaluation")
    drawn = next((copied / "examples").glob("step-*.png")).read_bytes()
    (copied / "examples" / name).write_bytes(drawn if content is None else content)
    answer = cli("report", "copied")
    assert (answer.code, answer.err.count("\n")) == (2, 1), answer
    assert f"{name} is no picture of a training" in answer.err


def test_a_picture_that_would_fill_the_memory_is_one_line(
    cli: CLI, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(copied / "evaluation")
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 100)
    answer = cli("report", "copied")
    assert (answer.code, answer.err.count("\n")) == (2, 1), answer
    assert "too large a picture" in answer.err


def test_an_evaluation_of_other_weights_is_told(cli: CLI, copied: Path) -> None:
    assert cli("report", "copied").code == 0
    said = "scores and examples are of other weights. Evaluate it again, with --overwrite"
    assert said not in (copied / "report.html").read_text(encoding="utf-8")
    described = json.loads((copied / "network.json").read_text())
    (copied / "network.json").write_text(json.dumps(described | {"sha256": "0" * 64}))
    assert cli("report", "copied").code == 0
    assert said in (copied / "report.html").read_text(encoding="utf-8")


def test_thirty_curves_are_told_apart() -> None:
    known = {f"run {number}": [(step, number + step) for step in range(3)] for number in range(31)}
    looks = re.findall(r'style="(fill: none[^"]*stroke-width: 1.8[^"]*)"', curves("many", "dB", known))
    assert len(looks) >= 31
    assert len(set(looks)) == 30


def test_names_in_any_script_draw_without_a_warning() -> None:
    assert "脳の再構成" in curves("script", "dB", {"脳の再構成": [(0, 1.0), (1, 2.0)], "b": [(0, 1.0), (1, 3.0)]})


def test_arrays_that_hide_objects_are_not_loaded(cli: CLI, copied: Path) -> None:
    np.savez(copied / "evaluation/illustrations.npz", titles=np.array([{"a": 1}], dtype=object))
    answer = cli("report", "copied")
    assert answer.code == 2
    assert "it is damaged" in answer.err


def test_a_comparison_is_one_page(cli: CLI, tmp_path: Path) -> None:
    for name, gain in (("<b>plain", 3.0), ("_$x^{", 5.0)):
        made_run(tmp_path / "runs" / name, gain=gain, noise=0.1, recipe={"name": name})
    assert cli("runs", "compare", "<b>plain", "_$x^{", "--output", "pair.json").code == 0
    answer = cli("report", "pair.json")
    assert answer.code == 0, answer.err
    text = (tmp_path / "pair.html").read_text(encoding="utf-8")
    assert text.count("<svg ") == 3
    made = (tmp_path / "pair.json").read_text()
    answer = cli("report", "pair.json")
    assert (answer.code, "is there already" in answer.err) == (2, True)
    (tmp_path / "unscored.json").write_text(json.dumps(json.loads(made) | {"scored": []}))
    assert cli("report", "unscored.json").code == 0
    assert "Made up." in (tmp_path / "unscored.html").read_text(encoding="utf-8")
    for said in ("&lt;b&gt;plain", "_$x^{", "Differences", "Wilcoxon", "Made up."):
        assert said in text, said
    assert "<b>" not in text
    content = json.loads((tmp_path / "pair.json").read_text())
    for damaged in ({}, [], content | {"format": "other"}, content | {"costs": [{"arm": 1}]}, content | {"arms": 3}):
        (tmp_path / "damaged.json").write_text(json.dumps(damaged))
        answer = cli("report", "damaged.json")
        assert (answer.code, answer.err.count("\n")) == (2, 1), damaged
        assert "damaged.json is no comparison" in answer.err
    (tmp_path / "damaged.json").write_text("{")
    assert "cannot read the comparison" in cli("report", "damaged.json").err
    assert not (tmp_path / "damaged.html").exists()


def test_a_comparison_shows_the_same_images(cli: CLI, copied: Path) -> None:
    """Of runs that stored them: each as its own run made it, beside the others and the reference."""
    other = copied.with_name("other")
    shutil.copytree(copied, other)
    examples = read_illustrations(other / "evaluation")
    write_illustrations(other / "evaluation", [*examples[1:], replace(examples[0], title="another slice")])
    assert cli("runs", "compare", "copied", "other", "--output", "pair.html").code == 0
    text = Path("pair.html").read_text(encoding="utf-8")
    assert "The same images by each run" in text
    assert text.count('class="stage"') == len(examples) - 1
    assert 'data-before="copied"' in text
    assert "error of other" in text
    assert cli("report", copied.parent).code == 0
    assert "The same images by each run" in (copied.parent / "report.html").read_text(encoding="utf-8")
    seeds = side_by_side([Arm("both", tuple(read_run(run) for run in (copied, other)))])
    assert [list(own.images) for own in seeds] == [["copied", "other", "reference"]] * len(seeds)
    odd = other.rename(other.with_name("reference"))  # called as what all are compared with
    shown = side_by_side([Arm(run.name, (read_run(run),)) for run in (copied, odd)])
    assert [list(own.images) for own in shown] == [["copied", "reference (run)", "reference"]] * len(shown)
    naive = side_by_side([Arm(run.name, (read_run(run),)) for run in (copied, odd)], "zero-filled")
    np.testing.assert_array_equal(naive[0].images["copied"], examples[1].images["zero-filled"])
    summary = json.loads((odd / "evaluation/summary.json").read_text())
    (odd / "evaluation/summary.json").write_text(json.dumps(summary | {"tested_on": "other images"}))
    assert side_by_side([Arm(run.name, (read_run(run),)) for run in (copied, odd)]) == []
    (odd / "evaluation/summary.json").write_text(json.dumps(summary))
    other = odd.rename(other)
    first = examples[1]
    moved = {name: np.roll(image, 3, axis=0) for name, image in first.images.items()}
    write_illustrations(other / "evaluation", [replace(first, images=moved)])  # of that name, and another image
    assert cli("runs", "compare", "copied", "other", "--output", "pair.html", "--overwrite").code == 0
    assert "The same images" not in Path("pair.html").read_text(encoding="utf-8")


def test_a_folder_of_runs_is_compared(cli: CLI, tmp_path: Path) -> None:
    for seed in (0, 1):
        made_run(tmp_path / f"runs/several/seed-{seed}", seed=seed, gain=3.0)
    (tmp_path / "runs/several/experiment.json").write_text('{"name": "several"}')
    for word, place in (
        ("several", "runs/several/report.html"),
        ("runs/several", "runs/several/report.html"),
        ("params.kind = 'Recipe'", "comparison.html"),
    ):
        answer = cli("report", word)
        assert answer.code == 0, answer.err
        assert f"Report: {place}" in answer.out
        text = (tmp_path / place).read_text(encoding="utf-8")
        assert "seed 1" in text
        assert "Means over seeds" in text
        (tmp_path / place).unlink()
    assert cli("report", "params.kind = 'Nothing'").code == 2


def test_a_packed_run_has_its_report(cli: CLI, copied: Path, tmp_path: Path) -> None:
    answer = cli("runs", "export", "copied", "packed.zip")
    assert answer.code == 0, answer.err
    with zipfile.ZipFile("packed.zip") as archive:
        assert b"validation-001" in archive.read("copied/report.html")
    elsewhere = tmp_path / "private" / "there"
    shutil.copytree(copied, elsewhere)
    assert cli("runs", "export", elsewhere, "packed.zip", "--overwrite").code == 0
    with zipfile.ZipFile("packed.zip") as archive:
        assert not any(b"private" in archive.read(name) for name in archive.namelist())
    live = copied / "report.html"
    live.write_text("of a training")
    with alone(copied):
        assert "another process" in cli("runs", "export", "copied", "packed.zip", "--overwrite").err
    assert live.read_text() == "of a training"


def test_nothing_of_others_is_replaced(cli: CLI, copied: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.html"
    theirs.write_text("<p>mine</p>")
    assert "add --overwrite" in cli("report", "copied", "--output", theirs).err
    assert theirs.read_text() == "<p>mine</p>"
    assert cli("report", "copied", "--output", theirs, "--overwrite").code == 0
    assert cli("report", "copied", "--output", tmp_path).code == 2
    assert cli("report", "nowhere").code == 2
    (tmp_path / "empty").mkdir()
    assert "nothing to report at empty, expected" in cli("report", "empty").err


def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grey = {name: (rng.random((9, 7)) - 0.5).astype(np.float32) for name in ("before", "after", "reference")}
    colour = {name: (rng.random((3, 4, 5)) - 0.5).astype(np.float32) for name in ("<b>", "network")}
    mask = rng.random((9, 7)) < 0.3
    written = [
        Illustration("one", grey, "before", True, 0.4, mask),
        Illustration("two", colour, "<b>", has_reference=False),
    ]
    write_illustrations(tmp_path, written)
    for known, read in zip(written, read_illustrations(tmp_path), strict=True):
        assert (read.title, read.before, read.after, read.white) == (
            known.title,
            known.before,
            known.after,
            known.white,
        )
        assert list(read.images) == list(known.images)
        for name, image in known.images.items():
            np.testing.assert_allclose(read.images[name], image, atol=3e-4)
    np.testing.assert_array_equal(read_illustrations(tmp_path)[0].mask, mask)
    assert read_illustrations(tmp_path / "nowhere") == []
    assert read_volume(tmp_path) is None


def test_a_large_volume_is_a_page_of_its_size(cli: CLI, copied: Path) -> None:
    """150 slices of 256×256 that are mostly noise, the worst to compress: below 20 s and 15 MB."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-1:1:256j, -1:1:256j]
    head = np.where(rows**2 + columns**2 < 0.8, 0.3, -0.5)
    slices = [
        picture_of_slice((head + 0.1 * rng.standard_normal(head.shape)).astype(np.float32), 0.5) for _ in range(5)
    ]
    pictures = {name: [slices[place % 5] for place in range(MOST_SLICES)] for name in ("before", "after", "reference")}
    write_volume(copied / "evaluation", IllustratedVolume("all", range(MOST_SLICES), pictures))
    began = time.process_time()
    assert cli("report", "copied").code == 0
    seconds, size = time.process_time() - began, (copied / "report.html").stat().st_size
    print(f"a report of 150 slices: {seconds:.1f} s of the processor, {size / 1e6:.1f} MB")
    assert LONGEST == 256
    assert seconds < 20
    assert size < 15e6


def test_a_training_is_watched(evaluated: Run, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = read_illustrations(copied / "evaluation")
    run = Run(copied, evaluated.recipe, evaluated.data, evaluated.environment)
    asked = []
    write = live_report(run)

    def of_this_moment() -> list[Illustration]:
        asked.append(1)
        return examples

    write(of_this_moment, "RUNNING")
    running = (copied / "report.html").read_text(encoding="utf-8")
    assert 'http-equiv="refresh"' in running
    assert "mri-n2n runs ui" in running
    assert "Examples after 4 steps" in running
    write(of_this_moment, "FINISHED")
    text = (copied / "report.html").read_text(encoding="utf-8")
    assert 'http-equiv="refresh"' not in text
    assert "subject validation-001" in text  # the latest examples stay
    assert len(asked) == 1

    def failing() -> list[Illustration]:
        raise UsageError("no examples today")

    write(failing, "RUNNING")
    write(failing, "RUNNING")
    assert capsys.readouterr().err.count("no examples today") == 1
    assert (copied / "report.html").read_text(encoding="utf-8") == text


def test_a_new_run_in_its_place_has_no_page(evaluated: Run, copied: Path) -> None:
    (copied / "report.html").write_text("of the earlier run")
    create_run(copied, evaluated.recipe, evaluated.data, torch.device("cpu"), overwrite=True)
    assert [path.name for path in copied.iterdir()] == ["run.json"]
