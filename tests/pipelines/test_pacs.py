"""A node beside a real PACS (Orthanc): a real series goes in, and what was made of it is seen there."""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from compressed import compress
from conftest import SHARED
from dicom_files import faults, some_series
from dicom_peers import free_port, start_node, wait_until
from orthanc import MISSING, Orthanc, orthanc
from pydicom import uid

from mri_n2n.data.dicom import read_series
from pipelines.batch.exits import Exit
from pipelines.node.answer import Answer

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
ANSWERS = {answer.said for answer in Answer}
STUDY, SERIES, DESCRIPTION, COUNT = "0020000D", "0020000E", "0008103E", "00201209"


def seen(pacs: Orthanc) -> dict[str, dict[str, Any]]:
    """The series that QIDO-RS finds: description and number of images, by UID."""
    found = pacs.ask(f"/dicom-web/series?includefield={DESCRIPTION}&includefield={COUNT}")
    return {one[SERIES]["Value"][0]: {tag: one.get(tag, {}).get("Value", [""])[0] for tag in one} for one in found}


def test_a_real_series_goes_to_the_node_and_comes_back(
    model: Path, tmp_path: Path, cli: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    mprage = SHARED / "mri" / "dicom" / "mprage-32"
    if not mprage.is_dir():
        pytest.skip(f"no DICOM at {mprage}: set MRI_N2N_SHARED_DATA")
    source = read_series(sorted(mprage.iterdir()))
    port = free_port()
    with orthanc(tmp_path / "pacs", ("MRI-N2N", port)) as pacs:
        process = start_node(model, tmp_path, port, f"{pacs.title}@127.0.0.1:{pacs.dicom}", caller=pacs.title)
        try:
            assert pacs.ask("/modalities/node/echo", {}) == {}
            for path in mprage.iterdir():
                pacs.ask("/instances", path.read_bytes())
            (original,) = seen(pacs)
            (series,) = pacs.ask("/series")
            assert (
                pacs.ask("/modalities/node/store", {"Resources": [series], "Synchronous": True})["FailedInstancesCount"]
                == 0
            )
            wait_until(lambda: pacs.ask("/statistics")["CountInstances"] == 64, 120, lambda: process.poll() is None)
            after = seen(pacs)
            (derived,) = set(after) - {original}
            assert after[derived][COUNT] == after[original][COUNT] == 32
            assert after[derived][STUDY] == after[original][STUDY]
            assert "not for diagnostic use" in after[derived][DESCRIPTION]

            # once more: nothing is made, nothing is sent, nothing is there twice
            pacs.ask("/modalities/node/store", {"Resources": [series], "Synchronous": True})
            time.sleep(3)
            assert seen(pacs) == after
            assert pacs.ask("/statistics")["CountInstances"] == 64

            files = []
            for one in pacs.ask("/instances"):
                if pacs.ask(f"/instances/{one}/simplified-tags")["SeriesInstanceUID"] == derived:
                    files.append(tmp_path / f"{one}.dcm")
                    files[-1].write_bytes(pacs.ask(f"/instances/{one}/file"))
            again = read_series(files)
            np.testing.assert_allclose(again.volume.affine, source.volume.affine, atol=1e-3)
            assert {pydicom.dcmread(path).PatientID for path in files} == {pydicom.dcmread(source.files[0]).PatientID}
            assert faults(files) == []

            # the whole study, our own series with it: that is not taken, and does not go round in circles
            (study,) = pacs.ask("/studies")
            pacs.ask("/modalities/node/store", {"Resources": [study], "Synchronous": True, "Permissive": True})
            time.sleep(3)
            assert seen(pacs) == after
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == Exit.DRAINED
        finally:
            process.kill()
    events = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    received = Counter()
    for event in events:
        received.update({name: event[name] for name in event if event["event"] == "received" and name in ANSWERS})
    assert received == {"kept": 32, "again": 64, "derived by this program": 32}
    assert cli("batch", "status", tmp_path / "out").out.splitlines()[-1] == "| ORTHANC | delivered | 1 |"


def test_a_series_that_is_kept_compressed_comes_as_it_is(model: Path, tmp_path: Path) -> None:
    """Lossless JPEG, as archives keep it."""
    files = some_series(tmp_path / "in", lambda _, one: compress(one, uid.JPEGLosslessSV1))
    port = free_port()
    with orthanc(tmp_path / "pacs", ("MRI-N2N", port)) as pacs:
        process = start_node(model, tmp_path, port, f"{pacs.title}@127.0.0.1:{pacs.dicom}", caller=pacs.title)
        try:
            for path in files:
                pacs.ask("/instances", path.read_bytes())
            (series,) = pacs.ask("/series")
            pacs.ask("/modalities/node/store", {"Resources": [series], "Synchronous": True})
            wait_until(lambda: pacs.ask("/statistics")["CountInstances"] == 10, 120, lambda: process.poll() is None)
            sent = [pydicom.dcmread(path) for path in (tmp_path / "inbox").rglob("*.dcm")]
            assert {one.file_meta.TransferSyntaxUID for one in sent} == {uid.JPEGLosslessSV1}
            kept = {one.SOPInstanceUID: one.PixelData for one in map(pydicom.dcmread, files)}
            assert {one.SOPInstanceUID: one.PixelData for one in sent} == kept
        finally:
            process.kill()
            process.wait()
