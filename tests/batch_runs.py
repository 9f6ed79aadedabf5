"""Batches for tests: scans of which many are damaged, processes, and what they leave."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from raw_files import write_cfl, write_fastmri

from mri_n2n.data.mrd import read_scan, write_scan
from pipelines.batch.folder import BatchFolder
from pipelines.batch.names import all_sources
from pipelines.batch.outcome import Outcome, Reason
from pipelines.batch.study import Setup

PATIENT = "DOE^JANE"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": ""}


def setup(model: Path, output: Path, *, simulate: bool = False) -> Setup:
    return Setup(model, output, "cpu", simulate, None)


def by_source(output: Path) -> dict[str, Outcome]:
    """What became of each file, or of each series by its first file."""
    names = all_sources(BatchFolder(output))
    return {names[outcome.study][0]: outcome for outcome in BatchFolder(output).outcomes()}


def published(output: Path) -> dict[str, bytes]:
    """Every published file, but for the times that are told."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in sorted((output / "studies").rglob("*"))
        if path.is_file() and path.name != "status.json"
    }


def left_over(output: Path) -> list[Path]:
    """What is half-written, and what says that somebody is at it."""
    return [path for path in output.rglob("*") if path.name.startswith(".") or path.parent.name == "begun"]


def copied(scans: Path, number: int, target: Path) -> Path:
    shutil.copy(sorted(scans.glob("*.h5"))[number], target)
    return target


def _edited(scans: Path, target: Path, edit: Callable[[h5py.File], None]) -> None:
    with h5py.File(copied(scans, 0, target), "r+") as file:
        edit(file)


def _header(old: bytes, new: bytes) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        text = file["dataset/xml"][0]
        assert old in text
        file["dataset/xml"][0] = text.replace(old, new, 1)

    return edit


def _head(field: str, value: int) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        table = file["dataset/data"][:]
        table["head"]["idx"][field][-1] = value
        file["dataset/data"][:] = table

    return edit


def _not_finite(file: h5py.File) -> None:
    table = file["dataset/data"][:]
    table["data"][0][0] = np.nan
    file["dataset/data"][:] = table


def damaged_scans(scans: Path, ward: Path) -> dict[str, Reason]:
    """A folder of scans among which few are good, and what should become of each."""
    ward.mkdir()
    content = sorted(scans.glob("*.h5"))[0].read_bytes()
    (ward / "truncated.h5").write_bytes(content[: len(content) // 2])
    (ward / "empty.h5").write_bytes(b"")
    (ward / "text.h5").write_text("Dear colleague,")
    (ward / "zeros.mrd").write_bytes(bytes(5000))
    _edited(scans, ward / "nan.h5", _not_finite)
    _edited(scans, ward / "radial.h5", _header(b"cartesian", b"radial"))
    _edited(scans, ward / "two-d.h5", _header(b"<z>20</z>", b"<z>1</z>"))
    _edited(scans, ward / "huge.h5", _header(b"<x>6</x>", b"<x>60000</x>"))
    _edited(scans, ward / "xml.h5", _header(b"<encoding>", b"<encoding><"))
    _edited(scans, ward / "contrasts.h5", _head("contrast", 1))
    _edited(scans, ward / "beyond.h5", _head("kspace_encode_step_1", 999))
    scan = read_scan(copied(scans, 1, ward / "good.h5"))
    write_scan(ward / "no-density.h5", replace(scan, decay=None), {})
    write_scan(ward / "coils.h5", replace(scan, samples=np.repeat(scan.samples, 2, 0)), {})
    write_scan(ward / "phases.h5", replace(scan, samples=scan.samples * np.complex64(1j)), {})
    one_slice = read_scan(ward / "good.h5").samples[:, 3]
    shown = np.fft.fftshift(one_slice, axes=(1, 2)).transpose(2, 1, 0)[:, :, None]
    for name in ("pair", "lonely", "short"):
        write_cfl(ward / f"{name}.cfl", shown)
    (ward / "lonely.hdr").unlink()
    (ward / "short.cfl").write_bytes((ward / "short.cfl").read_bytes()[:-8])
    write_fastmri(ward / "fastmri.h5", one_slice[:, None])
    with h5py.File(ward / "link.h5", "w") as file:
        file["dataset"] = h5py.ExternalLink("good.h5", "/dataset")
    (ward / "nowhere.h5").symlink_to("absent.h5")
    (ward / "round").symlink_to(".")
    os.mkfifo(ward / "pipe.h5")
    hostile = os.fsdecode(os.fsencode(ward) + b"/\xff\n'; rm -rf <b>" + PATIENT.encode() + b".h5")
    shutil.copy(ward / "good.h5", hostile)
    _edited(scans, ward / "twice.h5", _doubled)
    return {
        "truncated.h5": Reason.UNREADABLE,
        "empty.h5": Reason.UNREADABLE,
        "text.h5": Reason.UNREADABLE,
        "zeros.mrd": Reason.UNREADABLE,
        "nan.h5": Reason.NOT_FINITE,
        "radial.h5": Reason.UNSUPPORTED,
        "two-d.h5": Reason.DAMAGED,
        "huge.h5": Reason.IMPLAUSIBLE,
        "xml.h5": Reason.UNREADABLE,
        "contrasts.h5": Reason.UNSUPPORTED,
        "twice.h5": Reason.DUPLICATE,
        "beyond.h5": Reason.DAMAGED,
        "no-density.h5": Reason.RECONSTRUCTED,
        "coils.h5": Reason.INCOMPATIBLE,
        "phases.h5": Reason.INCOMPATIBLE,
        "pair.cfl": Reason.INCOMPATIBLE,  # nobody says what is white
        "lonely.cfl": Reason.INCOMPLETE,
        "short.cfl": Reason.DAMAGED,
        "fastmri.h5": Reason.INCOMPATIBLE,
        "link.h5": Reason.UNREADABLE,
        "nowhere.h5": Reason.GONE,
        "pipe.h5": Reason.UNSUPPORTED,
        "good.h5": Reason.RECONSTRUCTED,
        Path(hostile).name: Reason.RECONSTRUCTED,
    }


def _doubled(file: h5py.File) -> None:
    table = file["dataset/data"][:]
    table["head"]["idx"][-1] = table["head"]["idx"][0]
    file["dataset/data"][:] = table


def command(source: Path, output: Path, model: Path, *more: object) -> list[str]:
    arguments = ["batch", source, output, "--model", model, "--device", "cpu", *more]
    return [sys.executable, "-m", "pipelines", *map(str, arguments)]


def start(*arguments: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(*arguments), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def settled(output: Path) -> int:
    return len(list((output / "status").glob("*.json"))) if (output / "status").exists() else 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None
        time.sleep(0.05)
    pytest.fail("it did not get there within a minute")
