"""Interiors: each has an address, none is like another, and they are rooms that one can look around in."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rendering.interiors.sets as sets
from mri_n2n.errors import UsageError
from rendering.interiors.interior import draw_interior, write_interior
from rendering.interiors.lights import SETUPS
from rendering.interiors.meshes import Mesh, ball, box, curtain, cushion, lathe, leaf, turned
from rendering.interiors.sets import BRIGHTNESS, InteriorSet, factor_for, write_interiors
from rendering.interiors.themes import THEMES
from rendering.radiance import tone_map
from rendering.renderer import Renderer
from rendering.scenes import find_scenes
from rendering.views import draw_views


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def drawn(folder: Path, seed: int, split: str, number: int) -> dict[str, bytes]:
    folder.mkdir()
    write_interior(draw_interior(seed, split, number), folder, 1.0)
    found = contents(folder)
    shutil.rmtree(folder)
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brightness measured on few pixels: for what is not about it."""
    monkeypatch.setattr(sets, "SIZE", (12, 16))
    monkeypatch.setattr(sets, "SPP", 2)


def test_an_address_is_one_interior_and_no_others(tmp_path: Path) -> None:
    first = drawn(tmp_path / "scene", 0, "training", 3)
    assert drawn(tmp_path / "scene", 0, "training", 3) == first
    for other in ((1, "training", 3), (0, "validation", 3), (0, "training", 4)):
        assert not set(drawn(tmp_path / "scene", *other).values()) & {first["scene.xml"], first["wall.ply"]}


def test_rooms_lights_and_materials_vary() -> None:
    """Numbers that follow one another have every theme and every set-up."""
    interiors = [draw_interior(0, "training", number) for number in range(7)]
    assert {interior.theme for interior in interiors} == set(THEMES)
    assert {interior.setup for interior in interiors} == set(SETUPS)
    assert len({interior.materials["wall"].text for interior in interiors}) > 1
    assert all(interior.lights for interior in interiors)
    kinds = {
        kind
        for interior in interiors
        for role, _ in interior.parts
        for kind in re.findall(r'bsdf type="(\w+)"', interior.materials[role].text)
    }
    assert kinds >= {
        "diffuse",
        "plastic",
        "roughplastic",
        "conductor",
        "roughconductor",
        "dielectric",
        "roughdielectric",
    }


def test_what_stands_on_the_floor_stays_in_its_room_and_out_of_the_camera() -> None:
    for number in range(6):
        interior = draw_interior(5, "training", number)
        walls = np.concatenate([mesh.vertices for role, mesh in interior.parts if role == "ceiling"])
        low, high = walls.min(axis=0) - 1e-6, walls.max(axis=0) + 1e-6
        camera = np.array(interior.origin)
        for role, mesh in interior.parts:
            if role in ("wall", "accent", "floor", "ceiling", "trim", "curtain"):
                continue
            inside = (mesh.vertices[:, [0, 2]] >= low[[0, 2]]) & (mesh.vertices[:, [0, 2]] <= high[[0, 2]])
            assert inside.all(), f"{role} sticks out of room {number}"
            nearest = np.linalg.norm(mesh.vertices - camera, axis=1).min()
            assert nearest > 0.3, f"{role} is {nearest:.2f} m from the camera of room {number}"


@pytest.mark.parametrize(
    "mesh",
    [
        box(1, 2, 3, 4, 5, 6),
        ball(0.5, 1, 2, 3),
        cushion(1, 0.5, 0.7),
        lathe([(0, 0), (0.3, 0), (0.2, 1), (0.1, 1), (0, 0.1)]),
        turned(box(1, 2, 3), 30, "x"),
        curtain(1, 2, 5),
        leaf(0.5, 0.1, 0.4, 0.2, 30),
    ],
)
def test_normals_are_of_length_one_and_on_the_outer_side(mesh: Mesh) -> None:
    """Glass is told from air by them."""
    assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-3)
    corners = mesh.vertices[mesh.faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("ij,ij->i", flat, mesh.normals[mesh.faces].sum(axis=1)) >= 0).all()


def test_bodies_enclose_their_volume() -> None:
    """By the divergence theorem: positive only if all faces look outwards."""
    for mesh, volume in ((box(1, 2, 3), 6.0), (ball(0.5), 4 / 3 * np.pi * 0.125), (turned(box(1, 2, 3), 40), 6.0)):
        corners = mesh.vertices[mesh.faces]
        enclosed = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
        assert enclosed == pytest.approx(volume, rel=0.03)


def test_brightness_is_solved_for() -> None:
    seen = np.random.default_rng(0).gamma(0.5, 30.0, (3, 16, 16)).astype(np.float32)
    blocks = (factor_for(seen) * seen).reshape(3, 4, 4, 4, 4).mean(axis=(2, 4))
    assert tone_map(blocks).mean() == pytest.approx(BRIGHTNESS, abs=2e-3)
    with pytest.raises(UsageError, match="without any light"):
        factor_for(np.zeros((3, 8, 8), np.float32))


def test_scenes_are_written_seen_and_looked_around_in(cli: Callable[..., object], tmp_path: Path) -> None:
    out = tmp_path / "scenes"
    answer = cli("render", "interiors", out, "--training", 1, "--validation", 1, "--seed", 4)
    assert answer.code == 0, answer.err
    assert "1 training and 1 validation scenes, 2 of them made now" in answer.out
    scenes = find_scenes(out)
    assert [scene.name for scene in scenes] == ["training/interior-000", "validation/interior-000"]
    assert sorted(path.name for path in out.iterdir()) == ["contact.png", "interiors.json", "training", "validation"]
    with Image.open(out / "contact.png") as sheet:
        assert sheet.size == (2 * 132, 100)
    for scene in scenes:
        renderer = Renderer(scene.path, (24, 32), "scalar_rgb")
        colour, replaced = renderer.colour(renderer.pose, 32, seed=9)
        assert replaced == 0
        assert tone_map(colour).mean() == pytest.approx(BRIGHTNESS, abs=0.07), scene.name
        if scene is scenes[0]:
            assert len(set(draw_views(renderer, scene.name, 8, seed=1))) == 8
        del renderer


def test_a_set_grows_and_goes_on_where_it_was_interrupted_with_the_same_bytes(
    quick: None, cli: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "scenes"
    assert write_interiors(whole, InteriorSet(2, 0, 3)) == 2
    assert write_interiors(out, InteriorSet(1, 0, 3)) == 1
    options = ("--training", 2, "--validation", 0, "--seed", 3)

    def stopped(*arguments: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Renderer, "colour", stopped)
        answer = cli("render", "interiors", out, *options)
    assert answer.code == 130
    assert "The same command goes on" in answer.err
    assert [scene.name for scene in find_scenes(out)] == ["training/interior-000"], "half a scene is none"
    assert "1 of them made now" in cli("render", "interiors", out, *options).out
    assert contents(out) == contents(whole)


def test_another_set_is_refused_or_replaced(quick: None, tmp_path: Path) -> None:
    write_interiors(tmp_path / "out", InteriorSet(1, 0, 7))
    before = contents(tmp_path / "out")
    for other in (InteriorSet(0, 1, 7), InteriorSet(1, 0, 8)):
        with pytest.raises(UsageError, match="holds 1 training and 0 validation scenes of seed 7"):
            write_interiors(tmp_path / "out", other)
    assert contents(tmp_path / "out") == before
    write_interiors(tmp_path / "out", InteriorSet(0, 1, 8), overwrite=True)
    assert [scene.name for scene in find_scenes(tmp_path / "out")] == ["validation/interior-000"]


def test_a_foreign_folder_is_left_alone(quick: None, tmp_path: Path) -> None:
    theirs = tmp_path / "training" / "photo.txt"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="holds training, which is not of this output"):
            write_interiors(tmp_path, InteriorSet(1, 0, 0), overwrite=overwrite)
    (tmp_path / "interiors.json").write_text(json.dumps({"some": "thing"}))
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is no manifest of interiors"):
            write_interiors(tmp_path, InteriorSet(1, 0, 0), overwrite=overwrite)
    assert theirs.read_text() == "mine"


@pytest.mark.parametrize("asked", [(-1, 0, 0), (0, 0, 0), (1, 1001, 0), (1, 1, -1)])
def test_a_set_that_cannot_be_is_refused(asked: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="--"):
        InteriorSet(*asked)
