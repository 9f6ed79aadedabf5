"""The command line as a person meets it: help, the whole way, and one line for every mistake."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import Answer
from rich.console import Console

import mri_n2n
from mri_n2n.cli.runs import _draw
from mri_n2n.comparison.tables import Table

CLI = Callable[..., Answer]


def test_what_is_not_installed_is_named(cli: CLI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    monkeypatch.delitem(sys.modules, "mri_n2n.data.pairs", raising=False)
    answer = cli("prepare", "pairs", tmp_path, tmp_path, tmp_path / "data")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "error: SimpleITK is not installed here. Run: pip install 'mri-n2n[research]'\n"


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['mri-n2n', '--help']\n"
        "from pipelines.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'monai', 'mlflow', 'numpy', 'scipy', 'nibabel', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    times = []
    for _ in range(5):
        began = os.times()
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        ended = os.times()  # of the processor, which others may be using, too
        times.append(ended.children_user + ended.children_system - began.children_user - began.children_system)
        assert done.returncode == 0, done.stderr
    assert "reproduce" in done.stdout
    assert min(times) < 0.6  # 0.1 s measured on an idle machine; the bound is for a slower one


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("prepare",),
        ("prepare", "ixi"),
        ("prepare", "pairs"),
        ("prepare", "kspace"),
        ("train",),
        ("reproduce", "fig9"),
    ],
)
def test_every_help(cli: CLI, command: tuple[str, ...]) -> None:
    answer = cli(*command, "--help")
    assert answer.code == 0
    assert "Usage" in answer.out


def test_the_whole_way(cli: CLI, tmp_path: Path) -> None:
    """phantom, prepare, train, resume, evaluate, reconstruct: each names the next command, and that command works."""
    assert cli("phantom", "heads", "--subjects", 3, "--size", 40).code == 0
    answer = cli("prepare", "ixi", "heads", "data", "--train", 2, "--validation", 1, "--slices", "10:15")
    assert answer.code == 0, answer.err
    assert "Next: mri-n2n train data" in answer.out
    arguments = ("--steps", 4, "--batch-size", 1, "--acceleration", 4, "--run-name", "first")
    answer = cli("train", "data", *arguments)
    assert answer.code == 0, answer.err
    assert "Next: mri-n2n evaluate runs/first data" in answer.out
    assert cli("train", "data", *arguments).code == 2
    assert cli("train", "data", *arguments, "--overwrite", "--report").code == 0
    page = (tmp_path / "runs/first/report.html").read_text(encoding="utf-8")
    assert "Training has ended: step 4 of 4" in page
    assert "subject validation-001" in page
    answer = cli("train", "--resume", "first")
    assert answer.code == 0
    assert "nothing to do" in answer.err
    answer = cli("evaluate", "first", "data")
    assert answer.code == 0, answer.err
    assert "total variation" in answer.out
    folder = tmp_path / "runs/first/evaluation"
    assert {path.name for path in folder.iterdir()} == {
        "slices.csv",
        "subjects.csv",
        "quality.json",
        "illustrations.npz",
        "volume.npz",
        "summary.json",
        "scores.png",
        "examples.png",
    }
    assert "phantom-00" not in "".join(path.read_text() for path in folder.glob("*.[cj]s*"))  # no file names
    assert cli("evaluate", "first", "data").code == 2
    answer = cli("reconstruct", "first", "heads/phantom-003.nii.gz", "out.nii.gz", "--simulate")
    assert answer.code == 0, answer.err
    assert "(simulated)" in answer.out
    assert "--white" in cli("reconstruct", "first", "heads", "out").err
    assert cli("reconstruct", "first", "heads", "out", "--white", 255).code == 0
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("mri-n2n").experiment_id])[:1]
    assert run.data.metrics["evaluation/network with replacement/psnr"] > 0


def test_training_on_real_pairs(cli: CLI, tmp_path: Path) -> None:
    from mri_n2n.data.phantom import draw_head

    for number in range(2):
        rng = np.random.default_rng(number)
        head = draw_head((40, 40, 32), rng) / 255
        for side in "ab":
            (tmp_path / side).mkdir(exist_ok=True)
            scan = (head + 0.05 * rng.standard_normal(head.shape)).astype(np.float32)
            nibabel.Nifti1Image(scan, np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(tmp_path / side / f"{number}.nii.gz")
    answer = cli("prepare", "pairs", "a", "b", "data", "--train", 1, "--validation", 1, "--slices", "10:15")
    assert answer.code == 0, answer.err
    wrong = cli("train", "data", "--steps", 2, "--acceleration", 4)
    assert wrong.code == 2
    assert "real pairs" in wrong.err
    answer = cli("train", "data", "--steps", 4, "--batch-size", 2, "--run-name", "p")
    assert answer.code == 0, answer.err
    answer = cli("evaluate", "p", "data")
    assert answer.code == 0, answer.err
    assert "first scan" in answer.out
    assert cli("reconstruct", "p", "a/0.nii.gz", "out.nii.gz").code == 0
    assert cli("reconstruct", "p", "a/0.nii.gz", "out2.nii.gz", "--simulate").code == 2


def one_line(answer: Answer) -> str:
    assert answer.code == 2, (answer.code, answer.out, answer.err)
    errors = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, answer.err
    assert "Traceback" not in answer.err
    return errors[0]


MISTAKES = {
    "no folder": ("prepare", "ixi", "absent", "out"),
    "no volumes": ("prepare", "ixi", "empty", "out"),
    "4 usable subjects": ("prepare", "ixi", "HEADS", "out"),
    "FIRST:LAST": ("prepare", "ixi", "HEADS", "out", "--train", 2, "--validation", 1, "--slices", "9"),
    "8 or 16 bits": ("prepare", "ixi", "HEADS", "out", "--train", 2, "--validation", 1, "--bits", 12),
    "both splits need": ("prepare", "ixi", "HEADS", "out", "--train", 0, "--validation", 1),
    "expected a folder": ("prepare", "ixi", "file.nii", "out"),
    "not prepared data": ("train", "empty"),
    "name the data": ("train",),
    "no run at": ("train", "--resume", "absent"),
    "acceleration must be": ("train", "DATA", "--acceleration", "0.5", "--steps", 1),
    "is impossible": ("train", "DATA", "--acceleration", "100000", "--steps", 1),
    "either an acceleration": ("train", "DATA", "--acceleration", 4, "--edge-probability", "0.1", "--steps", 1),
    "edge probability": ("train", "DATA", "--edge-probability", 2, "--steps", 1),
    "--epochs or --steps": ("train", "DATA", "--epochs", 2, "--steps", 1),
    "steps must be at least 1": ("train", "DATA", "--steps", 0),
    "learning rate": ("train", "DATA", "--steps", 1, "--learning-rate", "-1"),
    "ht loss": ("train", "DATA", "--steps", 1, "--loss", "ht", "--targets", "clean"),
    "unknown device": ("train", "DATA", "--steps", 1, "--device", "gpu"),
    "seed must lie": ("train", "DATA", "--steps", 1, "--seed", 2**65),
    "--batch-size must be at least 1": ("train", "DATA", "--batch-size", 0),
    "must be positive": ("train", "DATA", "--epochs", "nan"),
    "--save-seconds must not be": ("train", "DATA", "--save-seconds", "nan"),
    "run's folder is": ("train", "DATA", "--steps", 1, "--run-name", "..", "--overwrite"),
    "plain name": ("train", "DATA", "--steps", 1, "--run-name", "../up"),
    "made by `mri-n2n train`": ("evaluate", "absent", "DATA"),
    "no run": ("reconstruct", "absent", "a.nii", "b.nii"),
    "needs data": ("reproduce", "fig9", "--scale", "small"),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes(cli: CLI, heads: Path, prepared: Path, tmp_path: Path, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.nii").write_bytes(b"")
    places = {"HEADS": heads, "DATA": prepared}
    before = sorted(tmp_path.rglob("*"))
    line = one_line(cli(*(places.get(str(word), word) for word in MISTAKES[message])))
    assert message.lower() in line.lower()
    assert sorted(tmp_path.rglob("*")) == before  # nothing half-written


def test_no_cuda(cli: CLI, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "--device cpu" in one_line(cli("train", prepared, "--device", "cuda", "--steps", 1))


def test_resume_keeps_its_recipe(cli: CLI, prepared: Path, tmp_path: Path) -> None:
    assert cli("train", prepared, "--steps", 2, "--batch-size", 1, "--run-name", "r").code == 0
    assert "leave out --steps" in one_line(cli("train", "--resume", "r", "--steps", 5))
    for content in (b"junk", (tmp_path / "runs/r/training-state.pt").read_bytes()[:1000]):
        (tmp_path / "runs/r/training-state.pt").write_bytes(content)
        assert "damaged" in one_line(cli("train", "--resume", "r"))
    next((tmp_path / "runs/r").glob("*.safetensors")).write_bytes(b"junk")
    assert "damaged" in one_line(cli("evaluate", "r", prepared))
    assert not (tmp_path / "runs/r/evaluation").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_place(cli: CLI, heads: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert "cannot write" in one_line(cli("prepare", "ixi", heads, locked / "data", "--train", 2, "--validation", 1))


def test_somebody_who_waits_is_told_at_once(cli: CLI, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("reconstruct", "absent", "a.nii", "b.nii")
    assert cli(*asked).err.startswith("error: no run")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert cli(*asked).err.startswith("starting ...\nerror: no run")


def test_version(cli: CLI) -> None:
    answer = cli("--version")
    assert (answer.code, answer.out) == (0, f"mri-n2n {mri_n2n.__version__}\n")


def test_a_closed_folder_is_one_line(cli: CLI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for what lies in a folder of others raises, even where the answer is wanted as yes or no."""
    looked = Path.exists

    def exists(path: Path) -> bool:
        if path.parts[0] == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return looked(path)

    monkeypatch.setattr(Path, "exists", exists)
    answer = cli("prepare", "ixi", "closed/heads", "data")
    assert answer.code == 2
    assert answer.err == "error: cannot reach closed/heads: Permission denied. Check its permissions.\n"


def test_place_below_a_file(cli: CLI, heads: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    line = one_line(cli("prepare", "ixi", heads, "file/data", "--train", 2, "--validation", 1))
    assert "cannot write" in line
    assert (tmp_path / "file").read_text() == "x"


def test_a_full_disk_while_preparing(heads: Path, tmp_path: Path) -> None:
    """A file-size limit stands in for the full disk."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from pipelines.cli import main\n"
        f"sys.argv = ['mri-n2n', 'prepare', 'ixi', {str(heads)!r}, 'data', '--train', '3', '--validation', '1']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: cannot write")]
    assert not (tmp_path / "data").exists()


def test_bad_volumes_are_reported(cli: CLI, heads: Path, tmp_path: Path) -> None:
    source = shutil.copytree(heads, tmp_path / "source")
    (source / "a.nii.gz").write_bytes(b"rubbish")
    answer = cli("prepare", "ixi", "source", "data", "--train", 2, "--validation", 1)
    assert answer.code == 0
    assert "skipped: source/a.nii.gz" in answer.err
    assert "1 volumes skipped" in answer.out
    one_line(cli("prepare", "ixi", "source", "strict", "--train", 2, "--validation", 1, "--strict"))


def test_module_entry() -> None:
    done = subprocess.run([sys.executable, "-m", "pipelines", "--help"], capture_output=True, text=True, check=True)
    assert "prepare" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_under_standard_output() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "pipelines", "--version"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert ended.returncode == 2
    assert "disk is full" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_title_of_a_narrow_table_is_one_line() -> None:
    text = StringIO()
    _draw(Table("What differs", ("a", "b"), (("1", "2"),)), Console(file=text, width=40))
    assert text.getvalue().splitlines()[0].rstrip() == "What differs"
