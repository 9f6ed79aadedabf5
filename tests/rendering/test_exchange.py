"""Frames to images and back, bit for bit; other renderers' folders become frames, or are refused in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exr_files import XYZ, layer, truth, write

from mri_n2n.errors import UsageError
from rendering import exchange
from rendering.exchange import export_frames, import_frames
from rendering.frames import FrameStore, Layout

ARRAYS = ("colour", "albedo", "normal", "reference")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def frames(tmp_path: Path) -> FrameStore:
    """Three frames of two scenes, two renders each, as `render frames` leaves them."""
    views = {"a/kitchen": [{}, {}], "hall": [{}]}
    store = FrameStore.create(tmp_path / "frames", {"views": views}, Layout(3, 2, (11, 17), True))
    for place in range(3):
        made = [truth(2 * place), truth(2 * place + 1)]
        planes = {name: np.stack([one[name] for one in made]) for name in ("colour", "albedo", "normal")}
        planes["normal"][:, 2] = np.abs(planes["normal"][:, 2])
        store.write(place, planes | {"reference": truth(90 + place)["colour"]}, 0)
    return store


def image(path: Path, seed: int, **changed: Any) -> Path:
    made = truth(seed) | changed
    return write(
        path, layer("", made["colour"]) | layer("albedo", made["albedo"]) | layer("normal", made["normal"], XYZ), "f4"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of a user's: one scene, views shot-2 and shot-10, two renders each."""
    for view in (10, 2):
        for number in (1, 2):
            image(tmp_path / "mine" / f"shot-{view}-{number:04}.exr", 10 * view + number)
    return tmp_path / "mine"


def test_an_export_imported_again_is_the_same_bit_for_bit(
    frames: FrameStore, cli: Callable[..., object], tmp_path: Path
) -> None:
    answer = cli("render", "export", frames.directory, tmp_path / "images")
    assert answer.code == 0, answer.err
    assert "9 images" in answer.out
    names = {name for name in contents(tmp_path / "images") if name.startswith("hall")}
    assert names == {"hall/view-000-0.exr", "hall/view-000-1.exr", "hall/view-000-reference.exr"}
    answer = cli("render", "import", tmp_path / "images", tmp_path / "again")
    assert answer.code == 0, answer.err
    assert "3 frames of 2 scenes, 2 renders each (17×11)" in answer.out
    assert "look away" not in answer.out
    again = FrameStore.open(tmp_path / "again")
    assert sorted(again.complete) == [0, 1, 2]
    assert again.rows() == frames.rows() == {"a/kitchen": range(2), "hall": range(2, 3)}
    for name in ARRAYS:
        assert again.array(name).tobytes() == frames.array(name).tobytes(), name
    assert (tmp_path / "again" / "contact.png").exists()


def test_what_was_stopped_goes_on_and_ends_the_same(
    frames: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_frames(frames.directory, tmp_path / "whole")
    import_frames(tmp_path / "whole", tmp_path / "store")

    def stopping(name: str, after: int) -> None:
        called, original = iter(range(after)), getattr(exchange, name)

        def stop(*arguments: Any) -> Any:
            if next(called, None) is None:
                raise KeyboardInterrupt
            return original(*arguments)

        monkeypatch.setattr(exchange, name, stop)

    stopping("write_exr", 4)
    with pytest.raises(KeyboardInterrupt):
        export_frames(frames.directory, tmp_path / "images")
    assert len(contents(tmp_path / "images")) == 5
    monkeypatch.undo()
    stopping("write_exr", 5)  # no more than are missing
    export_frames(frames.directory, tmp_path / "images")
    monkeypatch.undo()
    assert contents(tmp_path / "images") == contents(tmp_path / "whole")
    stopping("read_exr", 4)
    with pytest.raises(KeyboardInterrupt):
        import_frames(tmp_path / "images", tmp_path / "again")
    assert sorted(FrameStore.open(tmp_path / "again").complete) == [0]
    monkeypatch.undo()
    import_frames(tmp_path / "images", tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "store")


def test_other_output_is_refused_or_replaced(frames: FrameStore, folder: Path, tmp_path: Path) -> None:
    images, store = tmp_path / "images", tmp_path / "store"
    export_frames(frames.directory, images)
    import_frames(folder, store)
    with pytest.raises(UsageError, match="overwrite"):
        export_frames(store, images)
    with pytest.raises(UsageError, match="overwrite"):
        import_frames(folder, store, normals="forward")
    image(folder / "shot-2-0001.exr", 77)
    with pytest.raises(UsageError, match="other frames"):
        import_frames(folder, store)
    import_frames(folder, store, overwrite=True)
    np.testing.assert_array_equal(store_array(store, "colour")[0, 0], truth(77)["colour"])
    export_frames(store, images, overwrite=True)
    assert set(contents(images)) == {"export.json", *(f"mine/view-00{v}-{r}.exr" for v in (0, 1) for r in (0, 1))}
    (images / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"notes\.txt"):
        export_frames(frames.directory, images, overwrite=True)
    with pytest.raises(UsageError, match=r"notes\.txt|shot"):
        export_frames(frames.directory, folder, overwrite=True)
    assert len(contents(folder)) == 4


def store_array(store: Path, name: str) -> Any:
    return FrameStore.open(store).array(name)


def test_frames_that_are_not_all_rendered_are_not_exported(frames: FrameStore, tmp_path: Path) -> None:
    (frames.directory / "complete.json").write_text('{"0": {"clamped": 0, "replaced": 0}}')
    with pytest.raises(UsageError, match="2 of 3 frames"):
        export_frames(frames.directory, tmp_path / "images")
    assert not (tmp_path / "images").exists()


def test_views_are_in_the_order_of_their_numbers_and_what_was_changed_is_counted(
    folder: Path, cli: Callable[..., object], tmp_path: Path
) -> None:
    broken = {name: planes.astype(np.float32) for name, planes in truth(102).items()}
    broken["colour"][0, 0, 0], broken["colour"][1, 5, 5] = np.nan, 1e6
    away = broken["normal"] * np.array([1, 1, 0], np.float32)[:, None, None] - [[[0]], [[0]], [[1]]]
    image(folder / "shot-10-0002.exr", 0, **broken)
    image(folder / "shot-10-0001.exr", 101, normal=away.clip(-1, 1))
    answer = cli("render", "import", folder, tmp_path / "store")
    assert answer.code == 0, answer.err
    assert "1 values clamped to float16's range, 1 pixels that were no numbers set to 0" in answer.out
    assert "frames normals look away" in answer.out
    assert [view["name"] for view in FrameStore.open(tmp_path / "store").manifest["views"]["mine"]] == [
        "shot-2",
        "shot-10",
    ]
    colour = store_array(tmp_path / "store", "colour")
    np.testing.assert_array_equal(colour[0], [truth(21)["colour"], truth(22)["colour"]])
    assert colour[1, 1, 1, 5, 5] == 65504
    assert (colour[1, 1, :, 0, 0] == 0).all()
    cli("render", "import", folder, tmp_path / "forward", "--normals", "forward")
    np.testing.assert_array_equal(
        store_array(tmp_path / "forward", "normal")[:, :, 2], -store_array(tmp_path / "store", "normal")[:, :, 2]
    )


def test_renders_of_one_seed_are_refused(folder: Path, tmp_path: Path) -> None:
    image(folder / "shot-10-0002.exr", 10 * 10 + 1)  # the noise of shot-10-0001
    with pytest.raises(UsageError, match=r"shot-10-0001.exr and .*shot-10-0002.exr are the same image"):
        exchange.import_frames(folder, tmp_path / "frames")


def test_one_render_is_enough_beside_a_reference(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a-1.exr", 1)
    with pytest.raises(UsageError, match=r"a-1\.exr: its view has 1 renders, expected two"):
        import_frames(tmp_path / "in", tmp_path / "store")
    write(tmp_path / "in" / "a-reference.exr", layer("Combined", truth(2)["colour"]))
    store = import_frames(tmp_path / "in", tmp_path / "store")
    assert store.layout == Layout(1, 1, (11, 17), True)
    np.testing.assert_array_equal(store.array("reference")[0], truth(2)["colour"])


def test_the_first_image_that_is_off_is_named_and_nothing_is_made(folder: Path, cli: Any, tmp_path: Path) -> None:
    def refused(expected: str, *options: str) -> None:
        answer = cli("render", "import", folder, tmp_path / "store", *options)
        assert answer.code == 2
        assert expected in answer.err
        assert len(answer.err.strip().splitlines()) == 1
        assert not (tmp_path / "store").exists()

    def tried(name: str, make: Callable[[Path], object], expected: str) -> None:
        before = contents(folder)
        make(folder / name)
        refused(expected)
        for path in folder.rglob("*.exr"):
            path.unlink()
        for path, content in before.items():
            (folder / path).write_bytes(content)

    colour = truth()["colour"]
    small = {name: planes[:, :5] for name, planes in truth().items()}
    tried("shot.exr", lambda path: image(path, 3), "shot.exr is not named VIEW-NUMBER.exr")
    tried("shot-2-1.exr", lambda path: image(path, 3), "have one number")
    tried("shot-2-3.exr", lambda path: image(path, 3), "shot-10-0001.exr: its view has 2 renders, expected 3")
    tried("shot-10-reference.exr", lambda path: image(path, 3), "shot-10-0001.exr: its view has a reference")
    tried("shot-10-0002.exr", lambda path: image(path, 3, **small), "shot-10-0002.exr is 17×5 pixels, expected 17×11")
    tried(
        "shot-10-0002.exr", lambda path: write(path, layer("", colour)), "shot-10-0002.exr has no albedo and no normal"
    )
    tried("shot-10-0002.exr", lambda path: path.write_bytes(b""), "shot-10-0002.exr is no OpenEXR image")
    tried("mine/a-1.exr", lambda path: image(path, 3), "have one name")
    refused("no attribute worldToCamera", "--normals", "world")
    for path in folder.rglob("*.exr"):
        path.unlink()
    refused("no .exr in")
    folder = tmp_path / "nowhere"
    refused("no folder at")
