"""Writing files so that a reader sees the old content or the new, never half of it; and telling contents apart."""

import csv
import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mri_n2n.errors import UsageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission while writing `path` into one clear line."""
    try:
        yield
    except OSError as error:
        advice = "Free space" if error.errno in FULL else "Choose another place"
        raise UsageError(f"cannot write {path}: {error.strerror or error}. {advice}.") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn a missing permission, or a disk that fails, while looking into `path` into one clear line."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}. Ask its owner.") from error


def disk_full(error: UsageError) -> bool:
    """Whether it is one of `writing`, for want of space."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL


def check_writable(directory: Path) -> None:
    """Raise, before long work and not after it, unless files can be made in `directory` (which need not exist yet)."""
    with writing(directory):
        there = next(place for place in (directory, *directory.resolve().parents) if place.exists())
        with tempfile.TemporaryFile(dir=there):
            pass


class Busy(UsageError):
    """Another process holds what this one asked for."""


@contextmanager
def alone(directory: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Keep a folder to this process: raises `Busy` if another one of ours, in the same block, is at work in it.

    patience: seconds until it is given up. The system frees it when the process ends, however. Where the file system
    has no locks, nothing is checked.
    """
    with _locked(directory, os.O_RDONLY, directory, shared=False, patience=patience):
        yield


@contextmanager
def holding(path: Path, *, shared: bool = False, patience: float = 0.0) -> Iterator[None]:
    """The same by a file, made if need be, which several machines may share: of a folder over a network each would lock
    a copy of its own. shared: together with others who share it. patience: seconds until it is given up.
    """
    with _locked(path, os.O_RDWR | os.O_CREAT, path.parent, shared=shared, patience=patience):
        yield


def is_held(path: Path) -> bool:
    """Whether another process is seen to hold a file alone. It is asked for, and for an instant held, to know."""
    try:
        with _locked(path, os.O_RDONLY, path.parent, shared=True):
            return False
    except Busy:
        return True
    except UsageError:  # it is not there, or may not be read
        return False


@contextmanager
def _locked(path: Path, how: int, directory: Path, *, shared: bool, patience: float = 0.0) -> Iterator[None]:
    if os.name != "posix":
        yield
        return
    import fcntl

    with writing(path):
        descriptor = os.open(path, how, 0o666)
    end = time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < end:
                    time.sleep(0.02)
                    continue
                raise Busy(f"another process is at work in {directory}. Wait for it, or choose another.") from None
            except OSError:
                pass
            break
        yield
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path, aside: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it to disk and rename it to `path`, else remove it.

    The temporary name keeps the suffixes of `path`, for writers that look at them. aside: another folder for it, on the
    same file system.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = (aside or path.parent) / f".partial-{secrets.token_hex(6)}-{path.name[-40:]}"  # a name may be long
        temporary.open("xb").close()  # with the permissions of any new file
    try:
        with writing(path):
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
            sync(path.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_text(path: Path, text: str, aside: Path | None = None) -> None:
    """Replace the content of `path` by `text`, atomically. File names that are no UTF-8 are escaped."""
    with replacing(path, aside) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace the content of `path` by a table, atomically. All rows have the keys of the first one."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_json(path: Path, content: Any, aside: Path | None = None) -> None:
    """Replace the content of `path` by `content` as indented JSON (strict: NaN is refused), atomically."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n", aside)


def sha256_of(path: Path) -> str:
    """Of a file's bytes, as hexadecimal digits; a file of any size takes little memory."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def sha256_of_all(paths: Iterable[Path]) -> str:
    """Of the hashes of several files' bytes, in this order."""
    return hashlib.sha256("".join(sha256_of(path) for path in paths).encode()).hexdigest()


def read_json(path: Path, what: str) -> Any:
    """Read JSON from `path`; `what` names it in the error."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no {what} at {path}. Check the path.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the {what} {path}: {error}") from None


def clear(directory: Path, own: Sequence[str], *, overwrite: bool, dry_run: bool = False) -> None:
    """Make room for new output: remove the files of ours (glob patterns `own`) that an earlier one left in `directory`.

    Raises, having removed nothing, if there are such files and not `overwrite`, if there is anything that is not ours,
    or if another process is at work there. What a killed process left half-written is no such file, and removed. With
    `dry_run` it only raises.
    """
    with writing(directory):
        if directory.exists() and not directory.is_dir():
            raise UsageError(f"{directory} is a file, expected a directory to write to.")
        if not directory.is_dir():
            return
        with alone(directory):
            content = sorted(directory.iterdir())
            ours = [path for path in content if any(path.match(pattern) for pattern in (*own, ".partial-*"))]
            foreign = next((path for path in content if path not in ours), None)
            if foreign is not None:
                raise UsageError(
                    f"{directory} holds {foreign.name}, which is not of this output. Choose another place."
                )
            if not overwrite and any(not path.match(".partial-*") for path in ours):
                raise UsageError(f"{directory} exists and is not empty. Choose another place or add --overwrite.")
            if dry_run:
                return
            for path in ours:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            directory.rmdir()


@contextmanager
def making(directory: Path, own: Sequence[str], *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder beside `directory`; on success it becomes `directory`, else it is removed.

    What an earlier output of ours (`own`) left there is replaced with `overwrite`, as by `clear`.
    """
    clear(directory, own, overwrite=overwrite, dry_run=True)
    place = directory.resolve()  # of "." the name, too
    temporary = place.parent / f".partial-{secrets.token_hex(6)}-{place.name[-40:]}"
    with writing(directory):
        temporary.mkdir(parents=True)
    try:
        with writing(directory):
            yield temporary
            for path in temporary.rglob("*"):
                sync(path)
            clear(directory, own, overwrite=overwrite)
            temporary.rename(place)
            sync(place.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sync(path: Path) -> None:
    """Have a file or folder on the disk, and not only on its way there."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
