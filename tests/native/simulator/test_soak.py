"""Eight processes make random calls on four GPUs under the sanitizers: nothing is said, and nothing is left."""

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.native.simulator.test_sanitizers import OPTIONS, RUNTIMES

if TYPE_CHECKING:
    from tests.native.simulator.conftest import Machine

PROGRAM = Path(__file__).with_name("programs") / "churn.py"
SECONDS = float(os.environ.get("UNIGPU_SOAK_SECONDS", "3"))
"""`make soak-simulator` asks for ten minutes."""
PROCESSES = 8


@pytest.mark.parametrize("kind", RUNTIMES)
def test_random_calls(machine: "Machine", sanitized: Path, clients: Path, kind: str) -> None:
    machine.create("--profile", "l40s", "--gpus", "4", "--links", "full")
    named = subprocess.run(["cc", f"-print-file-name={RUNTIMES[kind]}"], check=True, capture_output=True, text=True)
    places = {"LD_LIBRARY_PATH": str(sanitized / kind), "LD_PRELOAD": str(Path(named.stdout.strip()).resolve())}
    started = [
        subprocess.Popen(
            [clients / "python/bin/python", PROGRAM, str(SECONDS), str(seed)],
            env=machine.environment() | places | OPTIONS,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(PROCESSES)
    ]
    outputs = [process.communicate(timeout=SECONDS + 240) for process in started]
    assert [(process.returncode, said) for process, (_, said) in zip(started, outputs, strict=True)] == [(0, "")] * 8
    seen = {outcome.split()[0] for output, _ in outputs for outcome in json.loads(output)}
    assert len(seen) == 14, "every kind of call was made"
    assert [gpu["used"] for gpu in json.loads(machine.command("show", "--json"))["gpus"]] == [0] * 4
