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

from deviceplugin.node import inventory
from deviceplugin.node.health import Sample
from deviceplugin.node.telemetry_writer import TelemetryWriter
from unigpu import names

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
    """Starts exporters over `tmp_path`."""
    running: list[Exporter] = []

    def start(*arguments: str) -> Exporter:
        running.append(Exporter(f"--state-dir={tmp_path}", *arguments))
        return running[-1]

    yield start
    for one in running:
        one.process.kill()
        one.process.communicate()


class Driver:
    """A simulated driver with two GPUs, read as the node agent reads it."""

    def __init__(self, state: Path, folder: Path) -> None:
        self.state = state
        self._environment = {**os.environ, names.ENV_SIM_DIR: str(state)}
        self._writer = TelemetryWriter(folder, 600.0)  # a busy machine takes its time between two looks

    def _simulator(self, *command: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "simulator", *command],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def create(self) -> None:
        self._simulator("create", "--profile", "t4", "--gpus", "2")

    def inject(self, *what: str) -> None:
        self._simulator("inject", *what)

    def look(self) -> None:
        """Take one sample, and write it for the exporter."""
        command = [sys.executable, "-m", "deviceplugin.node.probe", str(SIMULATOR / "libnvidia-ml.so.1"), "60", "0"]
        with subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=subprocess.PIPE) as probe:
            assert probe.stdout is not None
            sample = inventory.read(probe.stdout.readline())
            probe.kill()
        assert isinstance(sample, Sample)
        self._writer.write([one.telemetry for one in sample.readings if one.telemetry is not None])

    def lose(self) -> None:
        """The driver doesn't answer the agent."""
        self._writer.write(None)


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    if not (SIMULATOR / "libnvidia-ml.so.1").exists():
        pytest.fail("the simulated driver isn't built; run `make native`")
    made = Driver(tmp_path / "simulated", tmp_path)
    made.create()
    return made
