"""ISMRMRD: what is written is read by others, what others write is read, and damage is named."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
import pytest
from damage import damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mri_n2n.data.mrd import read_scan, write_scan
from mri_n2n.data.scan import Scan
from mri_n2n.errors import BadVolume, Problem


def rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return np.asarray(axes)


def some_scan(seed: int = 0, coils: int = 1, size: tuple[int, int, int] = (6, 5, 8)) -> Scan:
    """Rows, columns, readout; any direction of the axes, either handedness."""
    rng = np.random.default_rng(seed)
    rows, columns, readout = size
    mask = rng.random((rows, columns)) < 0.5
    mask[0, 0] = True
    samples = rng.standard_normal((coils, readout, rows, columns, 2)).astype(np.float32).view(np.complex64)[..., 0]
    affine = np.eye(4)
    affine[:3, :3] = rotation(rng) * rng.uniform(0.5, 3, 3)
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    return Scan(np.where(mask, samples, 0).astype(np.complex64), mask, size, affine, 0.1, 700.0, simulated=True)


@given(st.integers(0, 1000), st.integers(1, 3), st.tuples(st.integers(2, 9), st.integers(2, 9), st.integers(2, 9)))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_written_and_read_again(tmp_path: Path, seed: int, coils: int, size: tuple[int, int, int]) -> None:
    scan = some_scan(seed, coils, size)
    write_scan(tmp_path / "a.h5", scan, {})
    again = read_scan(tmp_path / "a.h5")
    np.testing.assert_array_equal(again.samples, scan.samples)
    np.testing.assert_array_equal(again.mask, scan.mask)
    assert (again.size, again.decay, again.white, again.simulated) == (scan.size, scan.decay, scan.white, True)
    corners = np.array([[x, y, z, 1] for x in (0, size[0]) for y in (0, size[1]) for z in (0, size[2])])
    np.testing.assert_allclose(corners @ again.affine.T, corners @ scan.affine.T, atol=1e-4)


def test_equal_scans_make_equal_files(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        write_scan(tmp_path / name, some_scan(), {"seed": "1"})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_others_can_read_it(tmp_path: Path) -> None:
    """By the format's own package, and with a transform that knows nothing of ours."""
    scan = some_scan(coils=2)
    write_scan(tmp_path / "a.h5", scan, {})
    file = ismrmrd.Dataset(tmp_path / "a.h5", "dataset", create_if_needed=False)
    header = ismrmrd.xsd.CreateFromDocument(file.read_xml_header())
    space = header.encoding[0].encodedSpace.matrixSize
    grid = np.zeros((2, space.z, space.y, space.x), complex)
    for number in range(file.number_of_acquisitions()):
        line = file.read_acquisition(number)
        grid[:, line.idx.kspace_encode_step_2, line.idx.kspace_encode_step_1] = line.data
        assert line.center_sample == space.x // 2
    file.close()
    ours = np.fft.fftshift(np.moveaxis(scan.samples, (1, 2, 3), (3, 2, 1)), axes=(1, 2, 3))
    np.testing.assert_array_equal(grid, ours)
    assert header.subjectInformation is None
    assert "SIMULATED" in header.userParameters.userParameterString[0].value


Edit = Callable[[ismrmrd.xsd.ismrmrdHeader, list[ismrmrd.Acquisition]], None]


def foreign(path: Path, edit: Edit | None = None, coils: int = 2) -> NDArray[np.complex64]:
    """A file by the format's own package; returns its k-space `[column row coil readout]`, DC in the middle."""
    rng = np.random.default_rng(3)
    readout, rows, columns = 8, 6, 4
    values = rng.standard_normal((columns, rows, coils, readout, 2)).astype(np.float32).view(np.complex64)[..., 0]
    x = ismrmrd.xsd
    space, shown = (
        x.encodingSpaceType(
            matrixSize=x.matrixSizeType(x=length, y=rows, z=columns),
            fieldOfView_mm=x.fieldOfViewMm(x=2.0 * length, y=6.0, z=12.0),
        )
        for length in (readout, readout // 2)
    )
    limits = x.encodingLimitsType(
        kspace_encoding_step_1=x.limitType(minimum=0, maximum=rows - 1, center=rows // 2),
        kspace_encoding_step_2=x.limitType(minimum=0, maximum=columns - 1, center=columns // 2),
    )
    encoding = x.encodingType(
        encodedSpace=space, reconSpace=shown, encodingLimits=limits, trajectory=x.trajectoryType.CARTESIAN
    )
    header = x.ismrmrdHeader(
        experimentalConditions=x.experimentalConditionsType(H1resonanceFrequency_Hz=63_000_000), encoding=[encoding]
    )
    lines = []
    for column in range(columns):
        for row in range(rows):
            line = ismrmrd.Acquisition.from_array(values[column, row])
            line.idx.kspace_encode_step_1, line.idx.kspace_encode_step_2 = row, column
            line.center_sample = readout // 2
            line.read_dir[:], line.phase_dir[:], line.slice_dir[:] = (1, 0, 0), (0, 1, 0), (0, 0, 1)
            line.position[:] = (10, 20, 30)
            lines.append(line)
    noise = ismrmrd.Acquisition.from_array(np.full((coils, 3), 99, np.complex64))
    noise.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    lines.insert(0, noise)
    if edit:
        edit(header, lines)
    path.unlink(missing_ok=True)
    file = ismrmrd.Dataset(path, "dataset")
    file.write_xml_header(x.ToXML(header, encoding="utf-8"))
    for line in lines:
        file.append_acquisition(line)
    file.close()
    return values


def test_a_file_of_another_program(tmp_path: Path) -> None:
    values = foreign(tmp_path / "a.h5")
    scan = read_scan(tmp_path / "a.h5")
    expected = np.fft.ifftshift(np.moveaxis(values, (2, 3, 1, 0), (0, 1, 2, 3)), axes=(1, 2, 3))
    np.testing.assert_array_equal(scan.samples, expected)
    assert scan.mask.all()
    assert scan.size == (6, 4, 4)  # the readout is oversampled twice
    assert (scan.decay, scan.white, scan.simulated, scan.notes) == (None, None, False, ())
    # rows run to the back, columns to the head, the readout to the left; LPS to RAS+; the middle voxel at its position
    np.testing.assert_allclose(scan.affine @ [3, 2, 2, 1], [-10, -20, 30, 1])
    np.testing.assert_allclose(scan.affine[:3, :3], [[0, 0, -2], [-1, 0, 0], [0, 3, 0]])


def test_averages_are_averaged(tmp_path: Path) -> None:
    def twice(_: Any, lines: list[ismrmrd.Acquisition]) -> None:
        again = ismrmrd.Acquisition.from_array(3 * lines[1].data)
        again.setHead(lines[1].getHead())
        again.idx.average = 1
        lines.append(again)

    values = foreign(tmp_path / "a.h5", twice)
    scan = read_scan(tmp_path / "a.h5")
    np.testing.assert_allclose(scan.samples[:, :, 3, 2], np.fft.ifftshift(2 * values[0, 0], axes=1), rtol=1e-6)
    np.testing.assert_allclose(scan.samples[:, :, 4, 2], np.fft.ifftshift(values[0, 1], axes=1))


def cut(missing: int) -> Edit:
    """So many samples fewer at the beginning of each line, and the last one to be thrown away."""

    def edit(_: Any, lines: list[ismrmrd.Acquisition]) -> None:
        for number, line in enumerate(lines[1:], 1):
            kept = np.ascontiguousarray(line.data[:, missing:])
            short = ismrmrd.Acquisition.from_array(kept)
            head = line.getHead()
            head.number_of_samples, head.center_sample, head.discard_post = 8 - missing, 4 - missing, 1
            short.setHead(head)
            short.data[:] = kept
            lines[number] = short

    return edit


def test_a_partial_echo_lands_in_its_place_and_is_told_of(tmp_path: Path) -> None:
    values = foreign(tmp_path / "a.h5", cut(1))
    scan = read_scan(tmp_path / "a.h5")
    kept = values[0, 0].copy()
    kept[:, [0, 7]] = 0
    np.testing.assert_array_equal(scan.samples[:, :, 3, 2], np.fft.ifftshift(kept, axes=1))
    assert "2 of 8 samples of every line are zero" in scan.notes[0]


def test_a_volume_that_lacks_too_much_of_its_echoes_is_refused(tmp_path: Path) -> None:
    foreign(tmp_path / "a.h5", cut(2))
    with pytest.raises(BadVolume, match="lack 3 of 8 samples") as refusal:
        read_scan(tmp_path / "a.h5")
    assert refusal.value.problem is Problem.UNSUPPORTED


def test_no_orientation_is_said(tmp_path: Path) -> None:
    def lost(_: Any, lines: list[ismrmrd.Acquisition]) -> None:
        for line in lines:
            line.read_dir[:] = line.phase_dir[:] = line.slice_dir[:] = (0, 0, 0)

    foreign(tmp_path / "a.h5", lost)
    assert "orientation" in read_scan(tmp_path / "a.h5").notes[0]


def header(**changes: Any) -> Edit:
    def edit(whole: Any, _: Any) -> None:
        for name, value in changes.items():
            parent = whole.encoding[0]
            *path, last = name.split("__")
            for step in path:
                parent = getattr(parent, step)
            setattr(parent, last, value)

    return edit


def last_line(change: Callable[[ismrmrd.Acquisition], None]) -> Edit:
    return lambda _, lines: change(lines[-1])


def counter(name: str) -> Edit:
    return last_line(lambda line: setattr(line.idx, name, 1))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (header(trajectory=ismrmrd.xsd.trajectoryType.RADIAL), "`radial`"),
        (header(encodedSpace__matrixSize__z=1), "expected less than 1"),
        (header(encodedSpace__matrixSize__x=60000), "not plausible"),
        (header(encodedSpace__fieldOfView_mm__x=0.0), "field of view"),
        (header(encodedSpace__matrixSize__x=4), "does not fit"),
        (lambda whole, _: whole.encoding.append(whole.encoding[0]), "2 encodings"),
        (counter("slice"), "more than one slice"),
        (counter("contrast"), "more than one contrast"),
        (counter("repetition"), "more than one repetition"),
        (last_line(lambda line: setattr(line.idx, "kspace_encode_step_1", 6)), "expected less than 6"),
        (header(encodingLimits__kspace_encoding_step_1__center=0), "beyond its matrix of 6 with DC at 0"),
        (header(encodingLimits__kspace_encoding_step_2__center=3), "beyond its matrix of 4 with DC at 3"),
        (last_line(lambda line: setattr(line.idx, "kspace_encode_step_1", 0)), "twice"),
        (last_line(lambda line: setattr(line, "encoding_space_ref", 1)), "does not state"),
        (last_line(lambda line: line.set_flag(ismrmrd.ACQ_IS_REVERSE)), "backwards"),
        (last_line(lambda line: line.data.__setitem__((0, 0), np.nan)), "NaN"),
        (last_line(lambda line: line.read_dir.__setitem__(slice(None), (0, 1, 0))), "differ in read_dir"),
        (last_line(lambda line: line.position.__setitem__(0, np.nan)), "differ in position"),
        (lambda _, lines: [line.phase_dir.__setitem__(0, 1) for line in lines], "right angles"),
        (lambda _, lines: lines.__delitem__(slice(1, None)), "no signal"),
        (lambda _, lines: [line.data.fill(0) for line in lines], "no signal"),
    ],
)
def test_what_is_refused_is_named(tmp_path: Path, edit: Edit, message: str) -> None:
    foreign(tmp_path / "a.h5", edit)
    with pytest.raises(BadVolume, match=message) as refusal:
        read_scan(tmp_path / "a.h5")
    assert str(refusal.value).startswith(f"{tmp_path / 'a.h5'} ")


def test_a_header_is_no_bomb(tmp_path: Path) -> None:
    write_scan(tmp_path / "a.h5", some_scan(), {})
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">' + "".join(
        f'<!ENTITY b{n} "{f"&b{n - 1 or chr(39)[:0]};" * 10}">' for n in range(1, 12)
    )
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["dataset/xml"][0] = bomb + "]><ismrmrdHeader>&b11;</ismrmrdHeader>"
    with pytest.raises(BadVolume, match="header"):
        read_scan(tmp_path / "a.h5")


@pytest.mark.parametrize("name", ["xml", "data"])
def test_files_beside_it_are_never_read(tmp_path: Path, name: str) -> None:
    write_scan(tmp_path / "a.h5", some_scan(), {})
    write_scan(tmp_path / "b.h5", some_scan(), {})
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["dataset"][name]
        file["dataset"][name] = h5py.ExternalLink("b.h5", f"/dataset/{name}")
    with pytest.raises(BadVolume, match="outside itself"):
        read_scan(tmp_path / "a.h5")


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_a_refusal(tmp_path: Path, data: st.DataObject) -> None:
    """Cut short or overwritten somewhere, a file is read or refused, and nothing else happens."""
    write_scan(tmp_path / "a.h5", some_scan(), {})
    (tmp_path / "b.h5").write_bytes(damaged((tmp_path / "a.h5").read_bytes(), data))
    try:
        scan = read_scan(tmp_path / "b.h5")
    except BadVolume:
        return
    assert np.isfinite(scan.samples).all()


def test_warnings_stay_as_they_were() -> None:
    """To import the format's package turns on warnings that are nobody's business here."""
    code = "import mri_n2n.data.mrd, warnings; print(('default', None, Warning, None, 0) in warnings.filters)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"
