"""The driver's own code under the sanitizers, while other people's programs use every family of it: nothing to say."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

ROOT = Path(__file__).parents[3]
RUNTIMES = {"address": "libasan.so", "undefined": "libubsan.so"}
OPTIONS = {"ASAN_OPTIONS": "detect_leaks=0:exitcode=99", "UBSAN_OPTIONS": "halt_on_error=1:exitcode=99"}


@pytest.mark.parametrize(
    "program",
    [
        "bindings",
        "families",
        "launches",
        "rules",
        "code_rules",
        "graph_rules",
        "pool_ipc",
        "other_memory",
        "tensor_maps",
    ],
)
@pytest.mark.parametrize("kind", RUNTIMES)
def test_nothing_to_say(machine: "Machine", sanitized: Path, clients: Path, kind: str, program: str) -> None:
    machine.create("--profile", "a100-40")
    named = subprocess.run(["cc", f"-print-file-name={RUNTIMES[kind]}"], check=True, capture_output=True, text=True)
    places = {"LD_LIBRARY_PATH": str(sanitized / kind), "LD_PRELOAD": str(Path(named.stdout.strip()).resolve())}
    done = subprocess.run(
        [clients / "python/bin/python", "-m", f"tests.native.simulator.programs.{program}"],
        cwd=ROOT,
        env=machine.environment(PYTHONPATH=str(ROOT)) | places | OPTIONS,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("{")
