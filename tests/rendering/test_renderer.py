"""The path tracer: its noise is what Noise2Noise needs, and what is wrong with a scene is one line."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from mri_n2n.errors import UsageError
from rendering import renderer as module
from rendering.radiance import halved, tone_map, without_gaps
from rendering.renderer import Renderer, chosen_variant, seed_of, seeds_of

SCALAR = "scalar_rgb"
FALSE_ALARM = 1e-6  # of each test, for other seeds than these


def test_renders_of_different_seeds_have_one_mean_and_independent_noise(room: Path) -> None:
    renderer = Renderer(room, (32, 32), SCALAR)
    seeds = seeds_of(48, 0, "room", 0)
    renders = np.stack([renderer.colour(renderer.pose, 2, seed)[0] for seed in seeds]).astype(float)
    clean = np.stack([renderer.colour(renderer.pose, 64, seed_of("clean", n))[0] for n in range(12)]).astype(float)

    def blocks(images):  # sums of many pixels are close to normal
        return images.reshape(-1, 3, 4, 8, 4, 8).mean(axis=(3, 5)).reshape(len(images), -1)

    first, second = blocks(renders), blocks(clean)
    deviation = np.sqrt(first.var(axis=0, ddof=1) / len(first) + second.var(axis=0, ddof=1) / len(second))
    score = np.abs(first.mean(axis=0) - second.mean(axis=0)) / deviation
    assert score.max() < student.isf(FALSE_ALARM / score.size / 2, len(second) - 1)

    # Tone-mapped, as independence survives any function and few rays bring most of the light; with centres from renders
    # of their own, as what one of them is off would be in both residuals. Green: a pixel's colours share their noise.
    shown = tone_map(renders)[:, 1]
    one, two = shown[:24] - shown[24:36].mean(axis=0), shown[:24] - shown[36:].mean(axis=0)
    for product in (one[::2] * two[1::2], one[:, :, ::2] * two[:, :, 1::2]):  # two seeds, two neighbouring pixels
        mean = product.mean(axis=0)
        assert abs(mean.mean()) < 5 * mean.std() / np.sqrt(mean.size)


def test_the_fastest_variant_here_agrees_with_the_plainest(room: Path) -> None:
    fastest = chosen_variant()
    if fastest == SCALAR:
        pytest.skip("no faster variant than scalar_rgb renders here: install libllvm19")
    clean = {}
    for variant in (fastest, SCALAR):
        renderer = Renderer(room, (32, 32), variant)
        assert renderer.is_free((0, 1, 5), (0, 1, 4))
        assert not renderer.is_free((0, 1, 5), (0, 1, -3))
        renders = np.stack([renderer.frame(renderer.pose, 64, seed_of(variant, n)).colour for n in range(12)])
        again = renderer.frame(renderer.pose, 64, seed_of(variant, 0))
        assert again.colour.tobytes() == renders[0].tobytes()
        clean[variant] = renders.astype(float).reshape(12, 3, 4, 8, 4, 8).mean(axis=(3, 5)).reshape(12, -1)
    first, second = clean.values()
    deviation = np.sqrt(first.var(axis=0, ddof=1) / 12 + second.var(axis=0, ddof=1) / 12)
    score = np.abs(first.mean(axis=0) - second.mean(axis=0)) / deviation
    assert score.max() < student.isf(FALSE_ALARM / score.size / 2, 11)


def test_equal_arguments_give_equal_bytes_and_another_seed_does_not(room: Path) -> None:
    renderer = Renderer(room, (16, 24), SCALAR)
    first, again, other = (renderer.frame(renderer.pose, 70, seed) for seed in (1, 1, 2))
    assert first.colour.shape == first.albedo.shape == first.normal.shape == (3, 16, 24)
    for name in ("colour", "albedo", "normal"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert (first.colour != other.colour).mean() > 0.9


def test_a_scene_of_many_meshes_and_lamps_gives_the_same_bytes_whenever_it_is_loaded(room: Path) -> None:
    for number in range(8):
        x, name = number / 4 - 1, f"lamp{number}.ply"
        header = "ply\nformat ascii 1.0\nelement vertex 3\n" + "".join(f"property float {axis}\n" for axis in "xyz")
        faces = "element face 1\nproperty list uchar int vertex_index\nend_header\n"
        (room.parent / name).write_text(f"{header}{faces}{x} 2.5 0\n{x + 0.2} 2.5 0\n{x} 2.5 0.2\n3 0 1 2\n")
        lamp = f'''<shape type="ply"><string name="filename" value="{name}"/>
          <emitter type="area"><rgb name="radiance" value="{number}, 1, 1"/></emitter></shape></scene>'''
        room.write_text(room.read_text().replace("</scene>", lamp))
    renders = set()
    for _ in range(4):
        renderer = Renderer(room, (16, 16), SCALAR)
        renders.add(renderer.colour(renderer.pose, 2, 0)[0].tobytes())
    assert len(renders) == 1


def test_albedo_and_normals_keep_to_their_ranges_and_radiance_does_not(room: Path) -> None:
    room.write_text(room.read_text().replace('value="9, 8, 7"', 'value="900000, 8, 7"'))
    renderer = Renderer(room, (32, 32), SCALAR)
    frame = renderer.frame(module.Pose((0, 1, 5), (0, 3, 0)), 4, 0)
    assert frame.colour.max() > 65504
    assert frame.colour.min() == 0
    assert 0 <= frame.albedo.min() < frame.albedo.max() <= 1
    assert -1 <= frame.normal.min() < frame.normal.max() <= 1
    lengths = np.linalg.norm(frame.normal, axis=0)
    assert lengths.max() < 1 + 1e-5


def test_normals_are_in_the_cameras_axes(room: Path) -> None:
    renderer = Renderer(room, (32, 32), SCALAR)
    ahead = renderer.frame(module.Pose((0, 1, 5), (0, 1, 0)), 4, 0).normal
    assert ahead[:, 12, 2] == pytest.approx([0, 0, 1], abs=1e-3), "the far wall faces the camera"
    assert ahead[:, 30, 16] == pytest.approx([0, 1, 0], abs=1e-3), "the floor faces up"
    ball = renderer.frame(module.Pose((-0.7, 0.6, 3), (-0.7, 0.6, 0)), 4, 0).normal
    assert ball[0, 16, 13] < -0.1 < 0.1 < ball[0, 16, 18], "the ball's left side faces left"
    assert ball[1, 18, 16] < -0.1 < 0.1 < ball[1, 13, 16]
    behind = renderer.frame(module.Pose((0, 1, -5), (0, 1, 0)), 4, 0).normal
    assert behind[:, 12, 2] == pytest.approx([0, 0, 1], abs=1e-3), "the wall seen from behind faces the camera, too"
    turned = renderer.frame(module.Pose((0, 1, 5), (-1, 1, 4)), 4, 0).normal  # by 45 degrees to the left
    half = np.sqrt(0.5)
    assert turned[:, 12, 29] == pytest.approx([-half, 0, half], abs=1e-3), "the far wall now faces to the left"
    rolled = renderer.frame(module.Pose((0, 1, 5), (0, 1, 0), (1, 0, 0)), 4, 0).normal
    assert rolled[:, 16, 30] == pytest.approx([-1, 0, 0], abs=1e-3), "the floor is to the right, and faces left"


def test_the_tone_map_lies_below_one_and_is_the_papers() -> None:
    values = np.array([[[0.0, 1e-6, 1.0, 65504.0, -1.0]]], np.float32)
    shown = tone_map(values)
    assert shown.min() == 0
    assert shown.max() < 1
    assert shown[0, 0, 2] == pytest.approx(0.5 ** (1 / 2.2))


def test_what_is_no_number_is_replaced_and_counted_and_what_is_too_large_clamped() -> None:
    planes = np.ones((3, 2, 2), np.float32)
    planes[0, 0, 0], planes[1, 0, 0], planes[2, 1, 1] = np.nan, np.inf, -np.inf
    kept, replaced = without_gaps(planes)
    assert replaced == 2
    assert (kept[:, 0, 0] == 0).all()
    assert (kept[:, 0, 1] == 1).all()
    half, clamped = halved(np.array([[[7e4, 65504.0, -1e9, 0.1]]], np.float32))
    assert clamped == 2
    assert half.dtype == np.float16
    assert half.tolist() == [[[65504.0, 65504.0, -65504.0, np.float16(0.1)]]]


def test_samples_without_a_number_are_left_out_and_counted(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = Renderer(room, (16, 16), SCALAR)
    images = iter([np.full((16, 16, 3), value, np.float32) for value in (1.0, 3.0)])

    class Broken:
        def render(self, *_: object, spp: int, **__: object) -> np.ndarray:
            image = next(images)
            image[0, 0, 1] = np.nan
            if spp == 64:
                image[0, 1, 2] = np.inf
            return image

    monkeypatch.setattr(renderer, "_integrator", Broken())
    radiance, broken = renderer.colour(renderer.pose, 96, 0)
    assert broken == 2
    assert radiance[:, 0, 0].tolist() == [0, 0, 0], "no pass has a number"
    assert radiance[:, 0, 1].tolist() == [3, 3, 3], "the second pass has"
    assert radiance[0, 8, 8] == pytest.approx((64 + 3 * 32) / 96)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("</scene>", ""), "XML"),
        (('type="sphere"', 'type="teapot"'), '"teapot" not found'),
        (("board.png", "gone.png"), "gone.png"),
        (('type="perspective">\n    <float name="fov" value="50"/>', 'type="orthographic">'), "no perspective"),
        (('<lookat origin="0, 1, 5" target="0, 0.9, 0" up="0, 1, 0"/>', '<scale value="0"/>'), "scene.xml"),
        (('<emitter type="area"><rgb name="radiance" value="9, 8, 7"/></emitter>', ""), "no light"),
        (('"path"><integer name="max_depth" value="4"/>', '"aov"><string name="aovs" value="d:depth"/>'), "channels"),
    ],
)
def test_a_bad_scene_is_one_line(room: Path, change: tuple[str, str], said: str) -> None:
    room.write_text(room.read_text().replace(*change))
    with pytest.raises(UsageError, match=said) as caught:
        rendered(room)
    assert "\n" not in str(caught.value)
    assert "scene.xml" in str(caught.value)


def test_ctrl_c_inside_the_renderer_is_no_fault_of_the_scene(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = Renderer(room, (16, 16), SCALAR)

    class Interrupted:
        def render(self, *_: object, **__: object) -> None:
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt as stop:
                raise RuntimeError("error while performing a custom operation (see above)") from stop

    monkeypatch.setattr(renderer, "_integrator", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        renderer.colour(renderer.pose, 1, 0)


def rendered(path: Path) -> None:
    renderer = Renderer(path, (16, 16), SCALAR)
    renderer.frame(renderer.pose, 1, 0)


def test_a_scene_without_a_camera_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bare.xml"
    path.write_text('<scene version="3.0.0"><emitter type="constant"/></scene>')
    with pytest.raises(UsageError, match="no camera"):
        Renderer(path, (16, 16), SCALAR)


def test_a_variant_that_aborts_its_process_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    aborting = f"import os, sys\nif sys.argv[1] != '{SCALAR}': os.abort()"
    monkeypatch.setattr(module, "PROBE", aborting)
    chosen_variant.cache_clear()
    assert chosen_variant("auto") == SCALAR
    with pytest.raises(UsageError, match="llvm_ad_rgb"):
        chosen_variant("llvm_ad_rgb")
    with pytest.raises(UsageError, match="--variant"):
        chosen_variant("opengl")
    chosen_variant.cache_clear()


def test_seeds_differ_by_every_part_of_their_address() -> None:
    rows = [seeds_of(9, seed, scene, view) for seed in (0, 1) for scene in "ab" for view in range(9)]
    seeds = {seed for row in rows for seed in row}
    assert len(seeds) == 2 * 2 * 81
    assert all(len({seed % 2**10 for seed in row}) == 9 for row in rows), "also where 2048×2048 pixels leave ten bits"
    assert all(a != b for a, b in pairwise(sorted(seeds)))
    assert all(0 <= seed < 2**32 for seed in seeds)
