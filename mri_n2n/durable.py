"""Writing files so that a reader sees the old content or the new, never half of it."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mri_n2n.errors import UsageError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission while writing `path` into one clear line."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or error}. Free space or choose another place."
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it to disk and rename it to `path`, else remove it.

    The temporary name keeps the suffixes of `path`, for writers that look at them.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".partial-", suffix="-" + path.name, dir=path.parent)
    temporary = Path(name)
    try:
        os.close(handle)
        with writing(path):
            temporary.chmod(0o666 & ~_umask())
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
            _sync_directory(path.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path` by `text`, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Replace the content of `path` by `content` as indented JSON (strict: NaN is refused), atomically."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Read JSON from `path`; `what` names it in the error."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no {what} at {path}. Check the path.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the {what} {path}: {error}") from None


def claim_directory(path: Path, *, overwrite: bool) -> None:
    """Create `path` as an empty directory for new output; raise if it holds something, unless `overwrite`."""
    with writing(path):
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file, expected a directory to write to.")
        if path.is_dir() and any(path.iterdir()):
            if not overwrite:
                raise UsageError(f"{path} exists and is not empty. Choose another place or add --overwrite.")
            shutil.rmtree(path)
        path.mkdir(parents=True, exist_ok=True)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def _sync_directory(path: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
