"""The check that is meant for a real GPU, on the simulated one: nothing differs there, and what is wrong is named."""

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.native.simulator.conftest import make

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

ROOT = Path(__file__).resolve().parents[3]
SMI = ROOT / "build" / "clients/debian/usr/lib/nvidia/current"
FRAMEWORKS = {"torch", "triton", "jax", "cupy"}


@pytest.fixture(scope="module", autouse=True)
def libvgpu() -> None:
    """It is part of what is checked."""
    make("native")


def results(machine: "Machine", tmp_path: Path, *arguments: str) -> dict[str, str]:
    """The result of each step."""
    environment = machine.environment()
    command = ["python3", "-m", "gpucheck", "--json", str(tmp_path / "found.json"), "--allocations", "500", *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment | {"PATH": f"{SMI}:{environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert not done.stderr, done.stderr
    found = {each["step"]: each["result"] for each in json.loads((tmp_path / "found.json").read_text())}
    assert len(done.stdout.splitlines()) == len(found)
    assert done.returncode == ("differs" in found.values()), done.stdout
    return found


@pytest.mark.usefixtures("clients")
def test_nothing_differs(machine: "Machine", tmp_path: Path) -> None:
    machine.create("--profile", "h100", "--driver-version", "535.261.03", "--cuda-version", "12.2")
    found = results(machine, tmp_path)
    skipped = {step for step, result in found.items() if result == "skipped"}
    assert skipped <= FRAMEWORKS
    assert set(found.values()) == {"ok", "skipped"}, found


def test_what_is_wrong_is_named(machine: "Machine", tmp_path: Path) -> None:
    machine.create("--latencies", "off")
    machine.command("set", "--process-memory", "hidden")
    found = results(machine, tmp_path, "--processes", "2")
    wrong = {step for step, result in found.items() if result == "differs"}
    assert {"small times", "context", "contexts at once"} <= wrong
    assert {"entry points", "sizes", "largest allocation"}.isdisjoint(wrong)
