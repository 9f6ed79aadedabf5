"""The XML header of an ISMRMRD file: what the scan's matrix, field of view and sampling were."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xsdata.formats.dataclass.parsers import XmlParser
from xsdata.formats.dataclass.parsers.config import ParserConfig
from xsdata.formats.dataclass.parsers.handlers import XmlEventHandler

from mri_n2n.data.scan import LARGEST, Scan
from mri_n2n.errors import UNREADABLE, BadVolume, Problem, one_line

with warnings.catch_warnings():  # to import it changes which warnings are shown
    from ismrmrd import xsd

DECAY, WHITE, ORIGIN = "sampling_density_decay", "white", "origin"  # our user parameters
SIMULATED = "SIMULATED from a magnitude image; not for diagnostic use"

_LENIENT = ParserConfig(fail_on_unknown_properties=False, fail_on_converter_warnings=True)  # of later versions, too


Limits = tuple[int, int] | None


@dataclass(frozen=True)
class Header:
    """What a header says; axes are first and second phase encoding, and readout.

    matrix: encoded samples, one along the second phase encoding of a 2-D scan. centres: the indices of DC of both
    phase encodings. limits: their lowest and highest indices, where they are said. voxel_mm: of a 2-D scan the second
    is the slices' thickness. size: voxels of the field of view to be shown. slices: how many there should be, where it
    is said. texts: the user parameters that are text.
    """

    matrix: tuple[int, int, int]
    centres: tuple[int, int]
    limits: tuple[Limits, Limits]
    voxel_mm: NDArray[np.float64]
    size: tuple[int, int, int]
    decay: float | None
    white: float | None
    texts: Mapping[str, str]
    slices: int | None

    @property
    def simulated(self) -> bool:
        """Whether the header says so, as `composed` writes it."""
        return self.texts.get(ORIGIN, "").startswith("SIMULATED")

    @property
    def flat(self) -> bool:
        """Whether it is a 2-D scan."""
        return self.matrix[1] == 1

    def extent(self, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
        """What the limits leave of a plane `[row column]`, unshifted; None where they leave all or nothing of it.

        The columns of a 2-D scan are its readout, and have no limits.
        """
        inside = np.ones(shape, bool)
        for axis, limits in enumerate(self.limits[:1] if self.flat else self.limits):
            if limits is not None:
                frequency = np.rint(np.fft.fftfreq(shape[axis]) * shape[axis])
                low, high = (index - self.centres[axis] for index in limits)
                lines = (frequency >= low) & (frequency <= high)
                inside &= lines[:, None] if axis == 0 else lines
        return inside if inside.any() and not inside.all() else None


def parsed(text: bytes) -> Header:
    """Read and check a header: one Cartesian encoding of a plausible size, else `BadVolume` (without a path)."""
    try:
        header: Any = XmlParser(config=_LENIENT, handler=XmlEventHandler).from_bytes(text, xsd.ismrmrdHeader)
    except (*UNREADABLE, SyntaxError) as error:
        raise BadVolume(f"has a header that is not ISMRMRD's ({one_line(error)}).") from None
    if len(header.encoding) != 1:
        raise BadVolume(f"has {len(header.encoding)} encodings, expected one. Split it first.", Problem.UNSUPPORTED)
    (encoding,) = header.encoding
    if encoding.trajectory != xsd.trajectoryType.CARTESIAN:
        kind = encoding.trajectory.value if encoding.trajectory else "unknown"
        raise BadVolume(f"is a scan of trajectory `{kind}`, expected a Cartesian one.", Problem.UNSUPPORTED)
    matrix = _by_axis(encoding.encodedSpace.matrixSize)
    if not (min(matrix) >= 1 and min(matrix[0], matrix[2]) > 1 and max(matrix) <= LARGEST):
        raise BadVolume(
            f"states a matrix of {'×'.join(map(str, matrix))}, which is not plausible.", Problem.IMPLAUSIBLE
        )
    voxel, size = _field_of_view(encoding, matrix)
    numbers, texts = _user_parameters(header)
    if DECAY in numbers and not 0 <= numbers[DECAY] < math.inf:
        raise BadVolume(f"states {DECAY} = {numbers[DECAY]:g}, which is impossible.", Problem.IMPLAUSIBLE)
    if WHITE in numbers and not 0 < numbers[WHITE] < math.inf:
        raise BadVolume(f"states {WHITE} = {numbers[WHITE]:g}, which is impossible.", Problem.IMPLAUSIBLE)
    return Header(
        matrix=matrix,
        centres=_centres(encoding.encodingLimits, matrix),
        limits=_limits(encoding.encodingLimits),
        voxel_mm=voxel,
        size=size,
        decay=numbers.get(DECAY),
        white=numbers.get(WHITE),
        texts=texts,
        slices=_slices(encoding.encodingLimits),
    )


def composed(scan: Scan, facts: Mapping[str, str]) -> str:
    """The header for a 3-D scan without oversampling; facts: more text for its user parameters. Nothing of a person."""
    _, readout, rows, columns = scan.samples.shape
    if scan.size != (rows, columns, readout) or not scan.encoded:
        raise ValueError("expected a 3-D scan without oversampling")
    row_mm, column_mm, readout_mm = np.linalg.norm(scan.affine[:3, :3], axis=0) * scan.size

    def space() -> xsd.encodingSpaceType:
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=readout, y=rows, z=columns),
            fieldOfView_mm=xsd.fieldOfViewMm(x=float(readout_mm), y=float(row_mm), z=float(column_mm)),
        )

    limits = [xsd.limitType(minimum=0, maximum=size - 1, center=size // 2) for size in (readout, rows, columns)]
    encoding = xsd.encodingType(
        encodedSpace=space(),
        reconSpace=space(),
        encodingLimits=xsd.encodingLimitsType(
            kspace_encoding_step_0=limits[0], kspace_encoding_step_1=limits[1], kspace_encoding_step_2=limits[2]
        ),
        trajectory=xsd.trajectoryType.CARTESIAN,
    )
    numbers = {DECAY: scan.decay, WHITE: scan.white}
    texts = dict(facts) | ({ORIGIN: SIMULATED} if scan.simulated else {})
    parameters = xsd.userParametersType(
        userParameterDouble=[
            xsd.userParameterDoubleType(name=name, value=value) for name, value in numbers.items() if value is not None
        ],
        userParameterString=[xsd.userParameterStringType(name=name, value=value) for name, value in texts.items()],
    )
    header = xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=0),  # the schema wants one
        encoding=[encoding],
        userParameters=parameters,
    )
    return str(xsd.ToXML(header, encoding="utf-8"))


def _by_axis(size: Any) -> tuple[Any, Any, Any]:
    """x is the readout, y the rows and z the columns of the phase-encoded plane."""
    return size.y, size.z, size.x


def _field_of_view(encoding: Any, matrix: tuple[int, int, int]) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Voxel size in mm, and the voxels of the reconstructed field of view; what it lacks is oversampling."""
    encoded, shown = (
        np.array(_by_axis(space.fieldOfView_mm), float) for space in (encoding.encodedSpace, encoding.reconSpace)
    )
    both = np.stack([encoded, shown])
    if not ((both > 0) & (both < 1e5)).all():
        raise BadVolume(
            f"states a field of view of {'×'.join(f'{mm:g}' for mm in encoded)} mm, which is not plausible."
        )
    rows, columns, readout = np.clip(np.rint(shown / encoded * matrix), 1, matrix).astype(int).tolist()
    return encoded / matrix, (rows, columns, readout)


def _centres(limits: Any, matrix: tuple[int, int, int]) -> tuple[int, int]:
    first = limits and limits.kspace_encoding_step_1
    second = limits and limits.kspace_encoding_step_2
    return (
        int(first.center) if first else matrix[0] // 2,
        int(second.center) if second else matrix[1] // 2,
    )


def _limits(limits: Any) -> tuple[Limits, Limits]:
    first, second = (
        (int(axis.minimum), int(axis.maximum)) if axis else None
        for axis in (limits and limits.kspace_encoding_step_1, limits and limits.kspace_encoding_step_2)
    )
    return first, second


def _slices(limits: Any) -> int | None:
    return int(limits.slice.maximum) + 1 if limits and limits.slice else None


def _user_parameters(header: Any) -> tuple[dict[str, float], dict[str, str]]:
    given = header.userParameters
    if given is None:
        return {}, {}
    numbers = {str(item.name): float(item.value) for item in given.userParameterDouble}
    return numbers, {str(item.name): str(item.value) for item in given.userParameterString}
