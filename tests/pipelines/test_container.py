"""The container, built unchanged and run as a hospital would: `make container-test`. As root, by buildah and podman."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

import nibabel
import numpy as np
import pytest
from dicom_files import some_series
from dicom_peers import Pacs, free_port, listens, store, uids

from pipelines.batch.exits import Exit
from pipelines.batch.folder import BatchFolder
from pipelines.batch.names import all_sources
from pipelines.batch.outcome import Reason

pytestmark = [pytest.mark.container, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
TOOLS = ("buildah", "debootstrap", "podman", "runc")
BASE, IMAGE, MLFLOW, BAKED = (f"localhost/mri-n2n-{name}" for name in ("base", "test", "mlflow-test", "baked-test"))
RELEASE = "bookworm"  # whose Python is that of the Dockerfile's base
CONFINED = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
LISTENING = tuple("host" if word == "none" else word for word in CONFINED)  # of which it binds loopback alone
USER = 10001
SOON, SMALL = 15.0, 1.6e9  # seconds from the start to the first study, bytes of the image
ENGINE = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""


@dataclass(frozen=True)
class Podman:
    """podman without systemd, and what it runs."""

    environment: dict[str, str]

    def __call__(self, *words: object, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        command = ["podman", *map(str, words)]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def run(self, *words: object, image: str = IMAGE) -> subprocess.CompletedProcess[str]:
        """Options, then "--" and arguments."""
        options, arguments = divided(words)
        return self("run", "--rm", "--no-healthcheck", *CONFINED, *options, image, *arguments)

    @contextmanager
    def running(
        self, name: str, *words: object, image: str = IMAGE, confined: Sequence[str] = CONFINED
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The same, meanwhile; it is gone afterwards."""
        options, arguments = divided(words)
        command = ["run", "--rm", "--name", name, "--no-healthcheck", *confined, *options, image, *arguments]
        with subprocess.Popen(
            ["podman", *map(str, command)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield process
            finally:
                self("rm", "--force", "--ignore", "--time", 0, name)

    def build(self, image: str, dockerfile: Path, context: Path, *options: str) -> None:
        """Where pip looks, and by which certificates, is this machine's."""
        where = {name: value for name, value in os.environ.items() if name in PLACES}
        arguments = [part for name, value in where.items() for part in ("--build-arg", f"{name}={value}")]
        for place in {value for value in where.values() if Path(value).is_absolute() and Path(value).exists()}:
            arguments += ["--volume", f"{place}:{place}:ro"]
        command = ["buildah", "bud", "--isolation", "chroot", "--pull-never", "--layers", "--format", "docker"]
        done = subprocess.run(
            [*command, *arguments, *options, "--file", dockerfile, "--tag", image, context],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:]


PLACES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT")


def divided(words: Sequence[object]) -> tuple[Sequence[object], Sequence[object]]:
    place = words.index("--") if "--" in words else len(words)
    return words[:place], words[place + 1 :]


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    """With a base image of Debian, made once."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing or os.geteuid():
        pytest.skip(f"containers need root and {', '.join(TOOLS)}; missing: {', '.join(missing) or 'root'}")
    settings = tmp_path_factory.mktemp("podman") / "containers.conf"
    settings.write_text(ENGINE)
    podman = Podman(os.environ | {"STORAGE_DRIVER": "overlay", "CONTAINERS_CONF": str(settings)})
    if podman("image", "exists", BASE).returncode:
        tree = tmp_path_factory.mktemp("base")
        debootstrap = ["debootstrap", "--variant=minbase", "--include=python3,python3-venv", RELEASE, str(tree)]
        subprocess.run(debootstrap, stdout=subprocess.DEVNULL, check=True)
        archive = tree.with_suffix(".tar")
        subprocess.run(["tar", "--create", "--file", archive, "--directory", tree, "."], check=True)
        shutil.rmtree(tree)
        done = podman("import", archive, BASE)
        assert done.returncode == 0, done.stderr
        archive.unlink()
    return podman


@pytest.fixture(scope="module")
def image(podman: Podman) -> Podman:
    """The image for reconstruction, of torch's CPU build."""
    podman.build(IMAGE, ROOT / "Dockerfile", ROOT, "--build-arg", f"BASE={BASE}")
    return podman


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    os.chown(folder, USER, USER)
    return folder


@pytest.fixture
def ward(scans: Path, tmp_path: Path) -> Path:
    """Four good scans."""
    folder = tmp_path / "ward"
    folder.mkdir()
    for path in scans.glob("*.h5"):
        shutil.copy(path, folder)
    return folder


def mounted(studies: Path, model: Path, output: Path) -> list[str]:
    places = {f"{studies}:/studies:ro", f"{model}:/model:ro", f"{output}:/output"}
    return [part for place in places for part in ("--volume", place)]


def reasons(output: Path) -> dict[str, Reason]:
    names = all_sources(BatchFolder(output))
    return {names[outcome.study][0]: outcome.reason for outcome in BatchFolder(output).outcomes()}


def settled(output: Path) -> int:
    return len(list((output / "status").glob("*.json"))) if (output / "status").exists() else 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 60) -> float:
    """How many seconds it took."""
    began = time.perf_counter()
    while not condition():
        assert process.poll() is None, process.returncode
        assert time.perf_counter() - began < seconds
        time.sleep(0.05)
    return time.perf_counter() - began


def test_what_is_in_the_image(image: Podman, capsys: pytest.CaptureFixture[str]) -> None:
    """Only what reconstruction needs; the list of parts names all of it."""
    (about,) = json.loads(image("image", "inspect", IMAGE).stdout)
    assert about["Config"]["User"] == f"{USER}:{USER}"
    with capsys.disabled():
        print(f"\nthe image has {about['Size'] / 1e9:.2f} GB")
    assert about["Size"] < SMALL
    script = (
        "import json, importlib.metadata as m, torch;"
        "print(json.dumps({'cuda': torch.version.cuda, 'parts': [[d.name, d.version] for d in m.distributions()]}))"
    )
    inside = json.loads(image.run("--entrypoint", "python", "--", "-c", script).stdout)
    assert inside["cuda"] is None
    parts = {(name.lower(), version) for name, version in inside["parts"]}
    names = {name for name, _ in parts}
    assert not names & {"pip", "mlflow", "matplotlib", "sigpy", "simpleitk", "pyvips", "pytest"}
    listed = json.loads(image.run("--entrypoint", "cat", "--", "/opt/mri-n2n/share/mri-n2n/sbom.cdx.json").stdout)
    assert listed["bomFormat"] == "CycloneDX"
    components = {(one["name"].lower(), one["version"]) for one in listed["components"]}
    assert components | {("mri-n2n", listed["metadata"]["component"]["version"])} == parts
    pinned = dict(line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert {name for name, version in components if pinned.get(name) != version.split("+")[0]} <= {"setuptools"}


def test_mixed_studies(image: Podman, model: Path, ward: Path, output: Path) -> None:
    good, other, *_ = sorted(path.name for path in ward.iterdir())
    (ward / "cut.h5").write_bytes((ward / good).read_bytes()[:4000])
    (ward / "empty.h5").touch()
    (ward / "letter.mrd").write_text("Dear colleague,")
    (ward / "gone.h5").symlink_to("absent.h5")
    (ward / other).chmod(0o600)  # root's
    series = some_series(ward / "series")[0].relative_to(ward).as_posix()
    expected = dict.fromkeys((path.name for path in ward.glob("DOE*")), Reason.RECONSTRUCTED)
    expected |= dict.fromkeys(("cut.h5", "empty.h5", "letter.mrd"), Reason.UNREADABLE)
    expected |= {"gone.h5": Reason.GONE, other: Reason.NO_PERMISSION, series: Reason.INCOMPATIBLE}
    done = image.run(*mounted(ward, model, output))
    assert done.returncode == Exit.SOME_NOT, done.stderr
    assert reasons(output) == expected
    page = (output / "summary.html").read_text()
    assert page.count("<img") == 3
    assert page.count(">quarantined</span>: unreadable") == 3
    assert {path.stat().st_uid for path in output.rglob("*")} == {USER}


def test_good_studies_and_how_soon(
    image: Podman, model: Path, ward: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = []
    for number in range(3):  # the best, for the machine may be busy
        folder = output / str(number)
        folder.mkdir()
        os.chown(folder, USER, USER)
        with image.running("mri-n2n-soon", *mounted(ward, model, folder)) as process:
            seconds.append(wait_for(lambda folder=folder: settled(folder) > 0, process))
            assert process.wait(timeout=120) == Exit.ALL_DONE
        assert set(reasons(folder).values()) == {Reason.RECONSTRUCTED}
    with capsys.disabled():
        print(f"\n{min(seconds):.1f} s from the start of the container to the first study, at best of {len(seconds)}")
    assert min(seconds) < SOON


def test_a_signal_and_a_health_check(image: Podman, model: Path, ward: Path, output: Path) -> None:
    (about,) = json.loads(image("image", "inspect", IMAGE).stdout)
    check = about["Healthcheck"]["Test"][1:]
    arguments = ("batch", "/studies", "/output", "--model", "/model", "--watch", 1)
    with image.running("mri-n2n-watch", *mounted(ward, model, output), "--", *arguments) as process:
        wait_for(lambda: settled(output) == 4, process)
        assert image("exec", "mri-n2n-watch", *check).returncode == 0
        image("kill", "--signal", "STOP", "mri-n2n-watch")
        image("exec", "mri-n2n-watch", "touch", "--date", "@0", "/tmp/heartbeat")
        assert image("exec", "mri-n2n-watch", *check).returncode == 1
        image("kill", "--signal", "CONT", "mri-n2n-watch")
        image("kill", "--signal", "TERM", "mri-n2n-watch")
        assert process.wait(timeout=60) == Exit.DRAINED
    assert not [path for path in output.rglob(".*") if path.name.startswith(".")]


def test_a_node(image: Podman, model: Path, output: Path, tmp_path: Path) -> None:
    """A series that is sent to it comes out derived, and comes back; then a signal drains it."""
    inbox, port, peer = tmp_path / "inbox", free_port(), Pacs(free_port())
    inbox.mkdir()
    os.chown(inbox, USER, USER)
    files = some_series(tmp_path / "series")
    volumes = ["--volume", f"{inbox}:/inbox", "--volume", f"{model}:/model:ro", "--volume", f"{output}:/output"]
    options = ["--simulate", "--port", port, "--allow", "SCANNER@127.0.0.1", "--settle", 1]
    arguments = ["dicom-node", "/inbox", "/output", "--model", "/model", *options]
    arguments += ["--send-to", f"PACS@127.0.0.1:{peer.port}", "--reserve", 0]
    with (
        peer.open(),
        image.running("mri-n2n-node", *volumes, "--", *arguments, confined=LISTENING) as process,
    ):
        wait_for(lambda: listens(port), process)
        assert set(store(port, files)) == {0}
        wait_for(lambda: len(peer.got) == len(files), process)
        assert not set(peer.got) & set(uids(files))
        image("kill", "--signal", "TERM", "mri-n2n-node")
        assert process.wait(timeout=60) == Exit.DRAINED
    (outcome,) = BatchFolder(output).outcomes()
    assert outcome.reason is Reason.RECONSTRUCTED


def test_a_limit_of_memory(image: Podman, model: Path, heads: Path, output: Path, tmp_path: Path) -> None:
    """The kernel ends the worker at a study that is too large; the next one is done."""
    folder = tmp_path / "volumes"
    folder.mkdir()
    first, last, *_ = sorted(heads.glob("*.nii.gz"))
    shutil.copy(first, folder / "a.nii.gz")
    shutil.copy(last, folder / "z.nii.gz")
    large = np.zeros((512, 512, 512), np.int16)
    large[200:300, 200:300, 200:300] = 500
    nibabel.Nifti1Image(large, np.eye(4)).to_filename(folder / "large.nii.gz")
    limits = ("--memory", "1g", "--memory-swap", "1g")
    arguments = ("batch", "/studies", "/output", "--model", "/model", "--simulate")
    done = image.run(*limits, *mounted(folder, model, output), "--", *arguments)
    assert done.returncode == Exit.SOME_NOT, done.stderr
    assert reasons(output) == {
        "a.nii.gz": Reason.RECONSTRUCTED,
        "large.nii.gz": Reason.OUT_OF_MEMORY,
        "z.nii.gz": Reason.RECONSTRUCTED,
    }


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size=64k,uid={USER},gid={USER}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(image: Podman, model: Path, ward: Path, small_disk: Path) -> None:
    done = image.run(*mounted(ward, model, small_disk))
    assert done.returncode == Exit.DISK_FULL, done.stderr
    assert "Free space" in done.stderr
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert image.run(*mounted(ward, model, small_disk)).returncode == Exit.ALL_DONE
    assert set(reasons(small_disk).values()) == {Reason.RECONSTRUCTED}
    assert not [path for path in small_disk.rglob(".*") if path.name.startswith(".")]


def test_other_weights_are_refused(image: Podman, model: Path, ward: Path, output: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(model, tmp_path / "mine")
    pinned = ("--env", f"MRI_N2N_WEIGHTS_SHA256={'0' * 64}")
    other = image.run(*pinned, *mounted(ward, mine, output))
    (weights,) = mine.glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    tampered = image.run(*mounted(ward, mine, output))
    for done, message in ((other, "expected 0000"), (tampered, "the weights' SHA-256 differs")):
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert list(output.iterdir()) == []


def test_nothing_can_be_written_elsewhere(image: Podman, model: Path, ward: Path) -> None:
    done = image.run("--volume", f"{ward}:/studies:ro", "--volume", f"{model}:/model:ro")
    assert done.returncode == 2
    assert done.stderr == "error: cannot write /output: Read-only file system. Choose another place.\n"


def test_weights_may_be_baked_in(image: Podman, model: Path, ward: Path, output: Path, tmp_path: Path) -> None:
    """As docs/containers.md says."""
    page = (ROOT / "docs/containers.md").read_text()
    (text,) = [dedent(part) for part in page.split("```") if "FROM mri-n2n\n" in part]
    (tmp_path / "Dockerfile").write_text(text.replace("FROM mri-n2n", f"FROM {IMAGE}"))
    shutil.copytree(model, tmp_path / "runs" / "first")
    image.build(BAKED, tmp_path / "Dockerfile", tmp_path)
    done = image.run("--volume", f"{ward}:/studies:ro", "--volume", f"{output}:/output", image=BAKED)
    assert done.returncode == Exit.ALL_DONE, done.stderr


def test_the_compose_file(image: Podman, model: Path, ward: Path, output: Path) -> None:
    """Read by podman-compose, and its batch kept watch over for real."""
    values = {"STUDIES": ward, "OUTPUT": output, "MODEL": model, "IMAGE": IMAGE, "COMPOSE_PROJECT_NAME": "mri-n2n-test"}
    environment = image.environment | {name: str(value) for name, value in values.items()}
    environment |= {"MEMORY": "2g"}

    def compose(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "podman_compose", "--file", str(ROOT / "compose.yaml")]
        done = subprocess.run(
            [*command, *words], env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done

    assert "dicom-node" in compose("--profile", "pacs", "--profile", "training", "config").stdout
    (ward / "late.h5").write_bytes(sorted(ward.glob("*.h5"))[0].read_bytes())
    compose("--podman-run-args=--no-healthcheck", "up", "--detach", "--no-build", "batch")
    try:
        end = time.monotonic() + 200  # it looks once a minute, and wants to see the same twice
        while settled(output) < 5 and time.monotonic() < end:
            time.sleep(0.5)
        assert set(reasons(output).values()) == {Reason.RECONSTRUCTED}
        assert len(reasons(output)) == 5
    finally:
        compose("down", "--timeout", "30")
    assert json.loads((output / "log.jsonl").read_text().splitlines()[-1])["exit"] == Exit.DRAINED


@pytest.fixture(scope="module")
def mlflow_image(podman: Podman) -> Podman:
    podman.build(MLFLOW, ROOT / "deploy/mlflow.Dockerfile", ROOT, "--build-arg", f"BASE={BASE}")
    return podman


LOGS_A_RUN = """
import mlflow
mlflow.set_tracking_uri("http://127.0.0.1:5000")
with mlflow.start_run() as run:
    mlflow.log_metric("psnr", 31.5)
    mlflow.log_text("kept", "note.txt")
kept = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/note.txt")
print(mlflow.get_run(run.info.run_id).data.metrics["psnr"], kept)
"""


def check_server(mlflow_image: Podman, *options: str) -> None:
    """Confined as in the compose file; its client is inside, too."""
    name = "mri-n2n-mlflow-test"
    (about,) = json.loads(mlflow_image("image", "inspect", MLFLOW).stdout)
    check = about["Healthcheck"]["Test"][1:]
    with mlflow_image.running(name, *options, image=MLFLOW) as process:
        wait_for(lambda: mlflow_image("exec", name, *check).returncode == 0, process, 240)
        said = mlflow_image("exec", name, "python", "-c", LOGS_A_RUN)
        assert said.stdout.splitlines()[-1:] == ["31.5 kept"], said.stderr


def test_the_mlflow_server_with_sqlite(mlflow_image: Podman, output: Path) -> None:
    check_server(mlflow_image, "--volume", f"{output}:/mlflow")
    assert (output / "mlflow.db").stat().st_uid == USER
    assert [path.read_text() for path in (output / "artifacts").rglob("note.txt")] == ["kept"]


@pytest.fixture
def postgres() -> Iterator[Path]:
    """The folder of a PostgreSQL server's socket."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("no PostgreSQL (Debian: postgresql)")
    with TemporaryDirectory() as folder:
        shutil.chown(folder, "postgres")
        Path(folder).chmod(0o755)
        made = [programs[-1] / "initdb", "--auth", "trust", "--pgdata", f"{folder}/data"]
        subprocess.run(made, user="postgres", stdout=subprocess.DEVNULL, check=True)
        served = [programs[-1] / "postgres", "-D", f"{folder}/data", "-k", folder, "-c", "listen_addresses="]
        with subprocess.Popen(served, user="postgres", stderr=subprocess.DEVNULL) as process:
            try:
                wait_for(lambda: any(Path(folder).glob(".s.PGSQL.*")), process)
                yield Path(folder)
            finally:
                process.terminate()


def test_the_mlflow_server_with_postgresql(mlflow_image: Podman, output: Path, postgres: Path) -> None:
    store = "postgresql:///postgres?host=/postgres&user=postgres"
    volumes = ("--volume", f"{output}:/mlflow", "--volume", f"{postgres}:/postgres")
    check_server(mlflow_image, *volumes, "--env", f"MLFLOW_BACKEND_STORE_URI={store}")
    assert not (output / "mlflow.db").exists()
