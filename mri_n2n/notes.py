"""What scans say of themselves, to a person: of one file at once, of their coils once for all files."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mri_n2n.progress import say
from mri_n2n.scans import COMBINED, ScannedVolume

Tell = Callable[[Path, ScannedVolume], None]


@contextmanager
def telling() -> Iterator[Tell]:
    """Yield what says a scan's notes; how many have coils that are combined is said at the end."""
    coils: Counter[int] = Counter()

    def tell(path: Path, scanned: ScannedVolume) -> None:
        combined = COMBINED.format(coils=scanned.coils)
        for note in scanned.notes:
            if note == combined:
                coils[scanned.coils] += 1
            else:
                say(f"{path} {note}")

    try:
        yield tell
    finally:
        for count, files in sorted(coils.items()):
            note = COMBINED.format(coils=count)
            say(f"1 file {note}" if files == 1 else f"{files} files have{note.removeprefix('has')}")
