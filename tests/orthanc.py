"""A real PACS for tests: Orthanc, on loopback, in a folder of its own."""

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_peers import free_port, wait_until

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
MISSING = None if shutil.which("Orthanc") and PLUGIN.exists() else "no Orthanc (Debian: orthanc orthanc-dicomweb)"
GRACE = 1.0  # seconds after SIGTERM, which it would take minutes over


@dataclass(frozen=True)
class Orthanc:
    """Where it is. title: its AE title."""

    dicom: int
    http: int
    title: str = "ORTHANC"

    def ask(self, path: str, body: Any = None) -> Any:
        """What it answers: to a question, or to something that it is given (JSON, or bytes as they are)."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", content, timeout=60) as answer:
            said = answer.read()
            return json.loads(said) if "json" in answer.headers["Content-Type"] else said

    def answers(self) -> bool:
        try:
            return bool(self.ask("/system")["DicomPort"] == self.dicom)
        except (urllib.error.URLError, ConnectionError, KeyError):
            return False


@contextmanager
def orthanc(folder: Path, node: tuple[str, int]) -> Iterator[Orthanc]:
    """Run it while this lasts; it knows one other, by AE title and port."""
    pacs = Orthanc(free_port(), free_port())
    folder.mkdir()
    settings = {
        "DicomPort": pacs.dicom,
        "HttpPort": pacs.http,
        "DicomAet": pacs.title,
        "DicomCheckCalledAet": True,
        "DicomModalities": {"node": [node[0], "127.0.0.1", node[1]]},
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "Plugins": [str(PLUGIN)],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "ConcurrentJobs": 1,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(["Orthanc", folder / "orthanc.json"], stdout=said, stderr=said)
    try:
        wait_until(pacs.answers, 30, lambda: process.poll() is None)
        yield pacs
    finally:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
