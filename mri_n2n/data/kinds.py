"""What to do about a file of a kind that is not read."""

from collections.abc import Sequence
from pathlib import Path

from mri_n2n.data import cfl, dicom
from mri_n2n.data.dicom.finding import SUFFIXES as DICOM


def of_another_kind(path: Path, known: Sequence[str]) -> str:
    """Which kind of file this seems to be, and what to do; known: the suffixes of what could have been read."""
    ending = path.suffix.lower()
    if dicom.is_dicom(path) or ending in DICOM:
        return f"{path} is one file of a DICOM series. Name its folder."
    if ending == ".hdr":
        pair = path.with_suffix(".CFL" if path.suffix.isupper() else ".cfl")
        if pair.exists():
            return f"{path} is the header of {pair}. " + (
                "Name that one." if cfl.SUFFIXES[0] in known else "That is raw k-space, expected a volume."
            )
    if ending in (".hdr", ".img"):
        return f"{path} is one half of a pair (.hdr, .img), as of Analyze. Convert the pair to one .nii.gz first."
    return f"{path} ends in none of {', '.join(known)}. Convert it first."
