"""A run as one file, to be sent to somebody, and back into a tracking server. Reading one executes nothing."""

import hashlib
import json
import math
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri_n2n.comparison.records import RunRecord, read_run
from mri_n2n.comparison.tracked import sent_before
from mri_n2n.durable import alone, read_json, replacing, sha256_of, sha256_of_all, writing
from mri_n2n.errors import UNREADABLE, UsageError, one_line
from mri_n2n.run_files import LEFT_OUT, METRICS, NAME, NAME_IS, NETWORK, PLACES, RUN, SUMMARY, parameters_of
from mri_n2n.tracking import UNNAMEABLE, mirror

FORMAT = "mri-n2n archive 1"
CONTENTS = "contents.json"
PARTS = (  # of a run directory; the state of a training is of no use elsewhere, and no format to take from others
    r"run\.json",
    r"metrics\.jsonl",
    r"network\.json",
    r"network-[0-9a-z]+\.safetensors",
    r"left-out\.txt",  # of earlier archives alone: it names files
    r"report\.html",
    r"(examples|evaluation)/[\w\- ]+\.(png|json|csv|md|npz|webp)",
)
ALLOWED = re.compile("|".join(PARTS))
DIGEST = "mri-n2n.archive_sha256"  # a tag: the archive that a run in MLflow came from
MOST = 20_000_000_000  # bytes of all files together
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others swell in one piece, however little of them is read
MOST_TOLD = 10_000_000  # of the list of contents
BLOCK = 1 << 20


@dataclass(frozen=True)
class Part:
    """A file of a run in an archive."""

    size: int
    sha256: str


def export_run(
    run: RunRecord, path: Path, *, overwrite: bool = False, prepare: Callable[[Path], object] | None = None
) -> int:
    """Pack a run's record, network, scores and pictures into a zip; return its size in bytes.

    prepare: what to do in its directory before. Raises `UsageError`, before that, unless the run is here with its
    network, not being trained, has a name for any system, and `path` is free or replaced.
    """
    directory = run.directory
    if directory is None:
        raise UsageError(f"{run.name} is known from MLflow alone ({run.place}). Export it where its directory is.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} is there already. Choose another name or add --overwrite.")
    if not NAME.fullmatch(run.name):
        raise UsageError(f"{run.name!r} is no name for another system. Rename the run's folder: {NAME_IS}.")
    with alone(directory):
        check_network(directory)
        if prepare is not None:
            prepare(directory)
        names = sorted(
            name
            for file in directory.rglob("*")
            if file.is_file() and ALLOWED.fullmatch(name := file.relative_to(directory).as_posix())
        )
        files = {name: directory / name for name in names if name not in (RUN, LEFT_OUT)}
        described = _without_places(directory)
        parts = {name: {"size": file.stat().st_size, "sha256": sha256_of(file)} for name, file in files.items()}
        parts[RUN] = {"size": len(described), "sha256": hashlib.sha256(described).hexdigest()}
        contents = {"format": FORMAT, "name": run.name, "status": run.status, "files": parts}
        with replacing(path) as temporary, _writer(temporary) as archive:
            archive.writestr(CONTENTS, json.dumps(contents, indent=2))
            archive.writestr(f"{run.name}/{RUN}", described)
            for name, file in files.items():
                archive.write(file, f"{run.name}/{name}")
    return path.stat().st_size


def _without_places(directory: Path) -> bytes:
    """A run's description without where its data lies, which is nobody's business elsewhere."""
    described = read_json(directory / RUN, "run description")
    described["data"] = {name: value for name, value in described["data"].items() if name not in PLACES}
    return json.dumps(described, indent=2).encode()


def check_network(directory: Path) -> None:
    """Raise `UsageError` unless a run's directory has the network that its description tells of."""
    described = read_json(directory / NETWORK, "network")
    try:
        weights = directory / Path(str(described["weights"])).name
        if not weights.exists() or sha256_of(weights) != described["sha256"]:
            raise ValueError("its weights are missing or damaged")
    except UNREADABLE as error:
        raise UsageError(
            f"{directory} has no whole network ({one_line(error)}). Finish or repeat its training."
        ) from None


def _writer(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False)  # files may be of 1970


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A run directory from an archive, for as long as it is needed.

    Every file must be one that a run has, of the size and hash that the archive tells: what leaves the archive, links,
    or swells beyond what it said, is refused. Raises `UsageError`; nothing is left behind.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                contents = _contents(archive, path)
                directory = Path(folder) / contents["name"]
                for name, part in contents["files"].items():
                    _extract(archive, f"{contents['name']}/{name}", directory / name, Part(**part))
        except FileNotFoundError:
            raise UsageError(f"no archive at {path}. Make one: mri-n2n runs export RUN FILE.zip") from None
        except IsADirectoryError:
            raise UsageError(f"{path} is a folder, expected a file by `runs export`. A run's: mri-n2n upload") from None
        except (zipfile.BadZipFile, NotImplementedError, *UNREADABLE) as error:
            raise UsageError(f"{path} is no archive of a run that can be trusted ({one_line(error)}).") from None
        yield directory


def _contents(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    if any(info.compress_type not in PACKINGS for info in archive.infolist()):
        raise ValueError("it is packed in another way than runs are")
    with archive.open(CONTENTS) as file:
        text = file.read(MOST_TOLD + 1)  # whatever size it says it has
    if len(text) > MOST_TOLD:
        raise ValueError("its list of contents is too long")
    contents = json.loads(text)
    if contents["format"] != FORMAT:
        raise ValueError("of another format")
    name = str(contents["name"])
    if not NAME.fullmatch(name):
        raise ValueError(f"a run cannot be called {name!r}")
    foreign = next((own for own in contents["files"] if not ALLOWED.fullmatch(own)), None)
    if foreign is not None:
        raise ValueError(f"it holds {foreign!r}, which no run has")
    if RUN not in contents["files"]:
        raise ValueError(f"it has no {RUN}")
    expected = {CONTENTS, *(f"{name}/{own}" for own in contents["files"])}
    if any(stat.S_ISLNK(info.external_attr >> 16) for info in archive.infolist()):
        raise ValueError("it holds a link")
    names = archive.namelist()
    if set(names) != expected or len(names) != len(expected):
        strangers = [own for own in names if own not in expected]
        raise ValueError(f"it holds {strangers[0]!r}, untold" if strangers else "it has a file twice, or not at all")
    sizes = [int(Part(**part).size) for part in contents["files"].values()]
    if min(sizes) < 0 or sum(sizes) > MOST:
        raise ValueError("its files are too large")
    if shutil.disk_usage(tempfile.gettempdir()).free < sum(sizes):
        raise UsageError(f"no space in {tempfile.gettempdir()} to unpack {path}. Free some, or set TMPDIR.")
    return dict(contents)


def _extract(archive: zipfile.ZipFile, name: str, target: Path, part: Part) -> None:
    digest, left = hashlib.sha256(), part.size
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with writing(target), archive.open(name) as source, target.open("xb") as file:
        while block := source.read(min(BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                raise ValueError(f"{name} is longer than it says")
            digest.update(block)
            file.write(block)
    if left or digest.hexdigest() != part.sha256:
        raise ValueError(f"{name} is not what it says: it was changed or cut off")


def upload_archive(path: Path) -> str:
    """Put an archived run into the tracking server, once; return its identifier there, and where that is.

    What an earlier upload of it left half-done is removed there. Raises `UsageError` where the run is not whole, before
    anything is sent, or MLflow does not answer.
    """
    with unpacked(path) as directory:
        try:
            record = read_run(directory)
            check_network(directory)
        except UsageError as error:
            raise UsageError(
                f"{path} holds a run that is damaged: {str(error).replace(str(directory), 'it')}"
            ) from None
        described = json.loads((directory / RUN).read_text(encoding="utf-8"))
        size = _whole_lines(directory, path)
        digest = sha256_of_all(sorted(own for own in directory.rglob("*") if own.is_file()))
        if known := sent_before(DIGEST, digest):
            return known
        try:
            return mirror(
                directory,
                parameters=parameters_of(described),
                name=record.name,
                upto=size,
                status="FINISHED" if record.status == "FINISHED" else "KILLED",
                tags={DIGEST: digest},
            )
        except UsageError as error:
            try:
                sent_before(DIGEST, digest)
            except UsageError:
                raise UsageError(f"{error} The same command later replaces what it has of this run.") from error
            raise


def _whole_lines(directory: Path, archive: Path) -> int:
    """The bytes of the recorded metrics up to the end of the last whole line, once all was seen to be sendable."""
    path = directory / METRICS
    content = path.read_bytes() if path.exists() else b""
    size = content.rfind(b"\n") + 1
    try:
        for line in content[:size].splitlines():
            entry = json.loads(line)
            for name, value in entry.items():
                if UNNAMEABLE.search(name) or not (name in ("step", "time") or math.isfinite(value)):
                    raise ValueError(f"MLflow takes no metric {name!r} of {value!r}")
            if not (isinstance(entry["step"], int) and isinstance(entry["time"], int)):
                raise ValueError("a step or a time is no whole number")
        summary = directory / SUMMARY
        if summary.exists():
            methods = json.loads(summary.read_text(encoding="utf-8"))["methods"]
            if not all(math.isfinite(value["mean"]) for metrics in methods.values() for value in metrics.values()):
                raise ValueError("a mean is not finite")
    except UNREADABLE as error:
        raise UsageError(f"{archive} holds a run that is damaged ({one_line(error)}). Export it again.") from None
    return size
