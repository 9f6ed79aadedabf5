"""Files of raw k-space, whatever their format: the one door to them."""

from contextlib import suppress
from pathlib import Path

from mri_n2n.data import cfl, fastmri, mrd
from mri_n2n.data.folders import refuse_closed
from mri_n2n.data.scan import Scan
from mri_n2n.data.volumes import suffix
from mri_n2n.durable import sha256_of, sha256_of_all

SUFFIXES = mrd.SUFFIXES + cfl.SUFFIXES


def read_scan(path: Path) -> Scan:
    """Read and check a file of raw k-space; raises `BadVolume`. ISMRMRD and fastMRI are told apart by their content."""
    refuse_closed(*files_of(path))
    if suffix(path, cfl.SUFFIXES):
        return cfl.read_scan(path)
    return fastmri.read_scan(path) if fastmri.is_fastmri(path) else mrd.read_scan(path)


def files_of(path: Path) -> tuple[Path, ...]:
    """The file, and what belongs to it and is there: a .hdr to a .cfl."""
    if suffix(path, cfl.SUFFIXES):
        with suppress(OSError):  # of a folder that may not be looked into
            cfl.header_of(path).stat()
            return (path, cfl.header_of(path))
    return (path,)


def content_sha256(path: Path) -> str:
    """The hash of a file of raw k-space or a volume, and of what belongs to it: a `Scan` has the same one."""
    files = files_of(path)
    return sha256_of(path) if len(files) == 1 else sha256_of_all(files)
