"""Media with a DICOMDIR: what it lists and nobody finds is missed, and otherwise it does no harm."""

import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from damage import damaged
from dicom_files import OTHER, SERIES, some_media
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mri_n2n.data.dicom import Memory, directory, find_series, finding
from mri_n2n.data.dicom.directory import listed
from mri_n2n.data.dicom.finding import Found


@pytest.fixture
def media(tmp_path: Path) -> Path:
    return some_media(tmp_path / "media")


def found(media: Path) -> Found:
    return find_series(sorted(path for path in media.rglob("*") if path.is_file()))


def images(media: Path, series: str = SERIES) -> list[Path]:
    """In the order of the slices."""
    heads = {path: pydicom.dcmread(path) for path in found(media).series[series]}
    return sorted(heads, key=lambda path: str(heads[path].SOPInstanceUID))


def test_it_is_no_study_and_lists_all(media: Path) -> None:
    assert {series: len(paths) for series, paths in found(media).series.items()} == {SERIES: 5, OTHER: 3}
    assert found(media).missing == {}
    assert listed(media / "DICOMDIR") == {
        SERIES: {f"{SERIES}.{number}" for number in range(5)},
        OTHER: {f"{OTHER}.{number}" for number in range(3)},
    }


@pytest.mark.parametrize("place", [0, 2, -1])
@pytest.mark.parametrize(
    "lose", [Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(path.read_bytes()[:200])]
)
def test_what_it_lists_and_is_not_there_is_missing(media: Path, place: int, lose: Callable[[Path], object]) -> None:
    lose(images(media)[place])
    assert found(media).missing == {SERIES: 1}


def test_names_may_be_spelt_otherwise_and_lie_elsewhere(media: Path) -> None:
    for number, path in enumerate(images(media)):
        path.rename(media / f"{path.name.lower()}-{number};1")
    assert found(media).missing == {}


def test_of_other_series_and_other_images_it_tells_nothing(media: Path) -> None:
    for path in images(media, OTHER):
        path.unlink()
    assert found(media).missing == {}
    for number, path in enumerate(images(media)):  # somebody gave all of them new names
        image = pydicom.dcmread(path)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.4.{number}"
        image.save_as(path)
    assert found(media).missing == {}


def test_two_of_them_are_two(media: Path, tmp_path: Path) -> None:
    """Of a folder with several, each tells of what is in any of them."""
    (tmp_path / "all").mkdir()
    shutil.copytree(media, tmp_path / "all" / "a")
    shutil.copytree(media, tmp_path / "all" / "b")
    images(tmp_path / "all" / "a")[0].unlink()
    assert found(tmp_path / "all").missing == {}


def offset_of(content: bytes, tag: int, number: int) -> int:
    """Where a record's offset of another one lies: the value of an element with 4 bytes."""
    mark = struct.pack("<HH2sH", 4, tag, b"UL", 4)
    place = -1
    for _ in range(number + 1):
        place = content.index(mark, place + 1)
    return place + len(mark)


def test_records_that_point_round_in_circles(media: Path) -> None:
    path = media / "DICOMDIR"
    content = bytearray(path.read_bytes())
    first = offset_of(content, 0x1420, 2)
    for number in range(content.count(struct.pack("<HH2sH", 4, 0x1400, b"UL", 4))):
        place = offset_of(content, 0x1400, number)
        content[place : place + 4] = content[first : first + 4]
    path.write_bytes(content)
    assert set(listed(path)) <= {SERIES, OTHER}
    assert set(found(media).series) == {SERIES, OTHER}


@given(st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_does_no_harm(media: Path, data: st.DataObject) -> None:
    path = media.parent / "DICOMDIR"
    path.write_bytes(damaged((media / "DICOMDIR").read_bytes(), data))
    for series, expected in listed(path).items():
        assert "" not in expected
        assert isinstance(series, str)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_a_part_of_it_counts_for_nothing(media: Path, share: float) -> None:
    path = media / "DICOMDIR"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    images(media)[0].unlink()
    assert found(media).missing == {}
    assert len(found(media).series[SERIES]) == 4


def test_a_record_of_many_elements_is_left(media: Path) -> None:
    path = media / "DICOMDIR"
    content = path.read_bytes()
    place = content.index(struct.pack("<HH2s", 4, 0x1220, b"SQ")) + 8
    many = struct.pack("<HH2sH", 9, 0x1000, b"LO", 0) * 500_000
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(many)) + many
    path.write_bytes(content[:place] + struct.pack("<L", len(item)) + item)
    began = time.process_time()
    assert listed(path) == {}
    assert time.process_time() - began < 0.5


def test_a_directory_is_read_once(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images(media)[0].unlink()
    read: list[Path] = []
    monkeypatch.setattr(finding, "listed", lambda path, heed: read.append(path) or listed(path, heed))
    files, memory = sorted(path for path in media.rglob("*") if path.is_file()), Memory()
    assert find_series(files, memory) == find_series(files, memory)
    assert len(read) == 1


def test_one_without_end_is_left(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MOST_RECORDS", 1000)
    path = media / "DICOMDIR"
    content = path.read_bytes()
    place = content.index(struct.pack("<HH2s", 4, 0x1220, b"SQ")) + 8
    path.write_bytes(content[:place] + b"\xff\xff\xff\xff" + struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 3_000_000)
    began = time.monotonic()
    assert listed(path) == {}
    assert time.monotonic() - began < 1
