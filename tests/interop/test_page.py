"""What docs/monai.md says is tried. Its commands run in test_bundle.py and test_network_files.py."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs/monai.md").read_text()


def test_the_pages_code_trains_and_resumes(tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.S))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    first, last = (float(number) for number in re.findall(r"[\d.]+(?= dB)", done.stdout))
    assert last > first + 1
    assert "the same bits" in done.stdout
    assert "'input': (4, 1, 48, 48), 'target': (4, 1, 48, 48), 'samples': (4, 48, 25)" in done.stdout
