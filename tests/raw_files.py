"""Raw k-space as other programs write it, for tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.complex64]  # [coil slice row column], unshifted, as in a `Scan`
Edit = Callable[[ismrmrd.xsd.ismrmrdHeader, list[ismrmrd.Acquisition]], None]

PHASE, READ = np.array([0.6, 0.8, 0.0]), np.array([0.8, -0.6, 0.0])
NORMAL = np.array([0.0, 0.0, 1.0])


def some_slices(coils: int = 2, slices: int = 3, rows: int = 6, columns: int = 8, seed: int = 0) -> Samples:
    """Random samples; of all rows but one."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal((coils, slices, rows, columns, 2)).astype(np.float32).view(np.complex64)[..., 0]
    samples[:, :, rows // 2] = 0
    return samples


def centred(samples: Samples) -> Samples:
    """DC in the middle, as most formats have it."""
    return np.fft.fftshift(samples, axes=(2, 3))


def flat_header(samples: Samples, voxel_mm: tuple[float, float, float], readout: int | None = None) -> Any:
    """The header of a 2-D scan; voxel_mm: row, column, slice. readout: columns that are shown."""
    _, slices, rows, columns = samples.shape
    x = ismrmrd.xsd
    row_mm, column_mm, slice_mm = voxel_mm
    space, shown = (
        x.encodingSpaceType(
            matrixSize=x.matrixSizeType(x=length, y=rows, z=1),
            fieldOfView_mm=x.fieldOfViewMm(x=column_mm * length, y=row_mm * rows, z=slice_mm),
        )
        for length in (columns, readout or columns)
    )
    limits = x.encodingLimitsType(
        kspace_encoding_step_1=x.limitType(minimum=0, maximum=rows - 1, center=rows // 2),
        slice=x.limitType(minimum=0, maximum=slices - 1, center=slices // 2),
    )
    encoding = x.encodingType(
        encodedSpace=space, reconSpace=shown, encodingLimits=limits, trajectory=x.trajectoryType.CARTESIAN
    )
    return x.ismrmrdHeader(
        experimentalConditions=x.experimentalConditionsType(H1resonanceFrequency_Hz=63_000_000), encoding=[encoding]
    )


def write_flat_mrd(
    path: Path,
    samples: Samples,
    voxel_mm: tuple[float, float, float] = (1.5, 2.0, 4.0),
    edit: Edit | None = None,
    *,
    readout: int | None = None,
    oriented: bool = True,
) -> None:
    """A 2-D ISMRMRD file by the format's own package: slices interleaved, 4.5 mm apart, zero lines left out."""
    _, slices, rows, columns = samples.shape
    header, ordered = flat_header(samples, voxel_mm, readout), centred(samples)
    lines = []
    for number in (*range(0, slices, 2), *range(1, slices, 2)):
        for row in range(rows):
            if not ordered[:, :, row].any():
                continue
            line = ismrmrd.Acquisition.from_array(np.ascontiguousarray(ordered[:, number, row]))
            line.idx.kspace_encode_step_1, line.idx.slice = row, number
            line.center_sample = columns // 2
            if oriented:
                line.phase_dir[:], line.read_dir[:], line.slice_dir[:] = PHASE, READ, NORMAL
                line.position[:] = 4.5 * number * NORMAL + (10, 20, 30)
            lines.append(line)
    if edit:
        edit(header, lines)
    path.unlink(missing_ok=True)
    file = ismrmrd.Dataset(path, "dataset")
    file.write_xml_header(ismrmrd.xsd.ToXML(header, encoding="utf-8"))
    for line in lines:
        file.append_acquisition(line)
    file.close()


def write_fastmri(path: Path, samples: Samples, voxel_mm: tuple[float, float, float] = (1.5, 2.0, 4.0)) -> None:
    """`[slice coil readout phase]`, and of one coil `[slice readout phase]`; attributes that nobody should keep."""
    stored = centred(samples).transpose(1, 0, 3, 2)
    with h5py.File(path, "w") as file:
        file["kspace"] = stored[:, 0] if stored.shape[1] == 1 else stored
        file["ismrmrd_header"] = ismrmrd.xsd.ToXML(flat_header(samples, voxel_mm), encoding="utf-8")
        file.attrs["patient_id"] = "DOE^JANE"


def write_cfl(path: Path, stored: NDArray[np.complex64], words: str | None = None) -> None:
    """An array whose axes are readout, two phase encodings, coils; words: other dimensions in the .hdr."""
    sizes = " ".join(map(str, [*stored.shape, *[1] * (16 - stored.ndim)]))
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{words or sizes}\n# Command\nfft DOE^JANE\n")
    path.write_bytes(stored.astype("<c8").tobytes(order="F"))
