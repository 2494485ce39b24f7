"""The exporter as it runs on a node: a process of its own, asked over HTTP."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[3]
SIMULATOR = ROOT / "build" / "simulator"

Samples = dict[str, list[tuple[dict[str, str], float]]]


class Exporter:
    """A running exporter."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "exporter", "--port=0", "--log-json", "--node=node-1", *arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        self.log: list[dict[str, object]] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(json.loads(line))
            if self.log[-1]["message"] == "serving":
                break
        else:
            raise AssertionError(f"the exporter didn't start: {self.log}")
        self.port = self.log[-1]["port"]

    def get(self, path: str) -> tuple[int, str]:
        """Status and text."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def samples(self) -> Samples:
        """What /metrics says, by sample's name."""
        status, text = self.get("/metrics")
        assert status == 200, text
        found: Samples = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    def stop(self) -> int:
        """End it as the kubelet does; the exit status."""
        self.process.terminate()
        _, rest = self.process.communicate(timeout=30)
        self.log += [json.loads(line) for line in rest.splitlines()]
        return self.process.returncode


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Callable[..., Exporter]]:
    """Starts exporters over `tmp_path`, with no driver unless one is named."""
    running: list[Exporter] = []

    def start(*arguments: str) -> Exporter:
        running.append(Exporter(f"--state-dir={tmp_path}", f"--host-root={tmp_path / 'host'}", *arguments))
        return running[-1]

    yield start
    for one in running:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[list[str]]:
    """Arguments that name a simulated machine of two GPUs."""
    if not (SIMULATOR / "libnvidia-ml.so.1").exists():
        pytest.fail("the simulated driver isn't built; run `make native`")
    state = tmp_path / "simulated"
    command = [sys.executable, "-m", "simulator", "create", "--profile", "t4", "--gpus", "2"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "UNIGPU_SIM_DIR": str(state)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    yield [f"--simulator-dir={state}", f"--simulator-lib={SIMULATOR}"]
