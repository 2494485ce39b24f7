"""Generated messages are what their .proto files give."""

import subprocess
from pathlib import Path


def test_current() -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run(["make", "-s", "proto-check"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
