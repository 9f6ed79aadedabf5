from pathlib import Path

import numpy as np
from matplotlib.image import imread

from pipelines.figures import Curve, Panel, draw_curves

STEPS = np.arange(1.0, 50.0)
CLEAN, NOISY = Curve("clean", STEPS, STEPS**0.5), Curve("noisy", STEPS, STEPS**0.5 - 0.2)


def painted(path: Path, *panels: Panel) -> np.ndarray:
    """Where the picture of these panels is not white."""
    draw_curves(path, panels)
    return imread(path)[..., :3].min(-1) < 1


def test_panels_stand_side_by_side(tmp_path: Path) -> None:
    panel = Panel("Fig 1a", "steps", "PSNR in dB", [CLEAN, NOISY])
    one, two = painted(tmp_path / "one.png", panel), painted(tmp_path / "two.png", panel, panel)
    assert two.shape[0] == one.shape[0]
    assert two.shape[1] > 1.8 * one.shape[1]
    half = two.shape[1] // 2
    assert two[:, :half].mean() > 0.02
    assert two[:, half:].mean() > 0.02


def test_intervals_and_marks_are_drawn(tmp_path: Path) -> None:
    """Each adds paint to the plain panel: a band around a line, bars through points, a mark."""
    plain = painted(tmp_path / "plain.png", Panel("", "", "", [CLEAN])).mean()
    band = Curve("clean", STEPS, STEPS**0.5, STEPS**0.5 - 1, STEPS**0.5 + 1)
    points = Curve("clean", STEPS, STEPS**0.5, STEPS**0.5 - 1, STEPS**0.5 + 1, "points")
    for name, panel in {
        "band": Panel("", "", "", [band]),
        "points": Panel("", "", "", [points]),
        "mark": Panel("", "", "", [CLEAN], marks={"a" * 20: 25.0}),
    }.items():
        assert painted(tmp_path / f"{name}.png", panel).mean() > plain + 0.001


def test_more_marks_than_styles_on_logarithmic_axes(tmp_path: Path) -> None:
    marks = {f"mark {place}": float(place) for place in range(1, 8)}
    assert painted(tmp_path / "marks.png", Panel("", "", "", [CLEAN], log_x=True, log_y=True, marks=marks)).any()


def test_a_caption_is_wrapped_and_nothing_else_is_left(tmp_path: Path) -> None:
    draw_curves(tmp_path / "deep" / "figure.png", [Panel("", "", "", [CLEAN])], "a long caption " * 20)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["figure.png"]
    assert imread(tmp_path / "deep" / "figure.png").shape[:2] == (600, 720)
