"""The real Prometheus, as Debian's package brings it, in a folder of its own and on a free port of loopback."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

PATIENCE = 120.0
"""Seconds until it answers; a second on an idle machine."""
Json = dict[str, Any]


class Prometheus:
    """A server that runs."""

    def __init__(self, folder: Path, command: Sequence[str], address: str) -> None:
        self.folder, self.address, self._command = folder, address, command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self._process.poll() is None, (self.folder / "prometheus.log").read_text()[-3000:]
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.address}/-/ready", timeout=5):
                return
            time.sleep(0.1)
        raise AssertionError("prometheus doesn't answer:\n" + (self.folder / "prometheus.log").read_text()[-3000:])

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it as systemd does."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def get(self, path: str, **query: str) -> Any:
        """Return the data of an answer of its API."""
        asked = urllib.parse.urlencode(query)
        with urllib.request.urlopen(f"{self.address}/api/v1/{path}?{asked}", timeout=30) as response:
            document = json.load(response)
        assert document["status"] == "success", document
        return document["data"]

    def instant(self, expression: str, at: float | None = None) -> list[Json]:
        """Return the series of an expression."""
        query = {"query": expression} | ({"time": f"{at:.3f}"} if at is not None else {})
        found: list[Json] = self.get("query", **query)["result"]
        return found

    def raw(self, selector: str, seconds: int, at: float | None = None) -> list[Json]:
        """Return all samples of series, as they were scraped."""
        return self.instant(f"{selector}[{seconds}s]", at)

    def alerts(self) -> list[Json]:
        """Return the alerts that are pending or firing."""
        found: list[Json] = self.get("alerts")["alerts"]
        return found


@contextlib.contextmanager
def running(folder: Path, configuration: Mapping[str, Any], data: Path | None = None) -> Iterator[Prometheus]:
    """Run it while the context lasts; fails the test where it isn't installed."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.fail("no prometheus: install the Debian package prometheus")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(dict(configuration), sort_keys=False))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        program,
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={data or folder / 'data'}",
        "--storage.tsdb.retention.time=10y",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    made = Prometheus(folder, command, f"http://127.0.0.1:{port}")
    try:
        made.start()
        yield made
    finally:
        made.stop()


def backfill(folder: Path, lines: Sequence[str]) -> Path:
    """Return a folder of data made of samples with times, in OpenMetrics' format."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "samples.txt"
    file.write_text("\n".join(lines) + "\n# EOF\n")
    command: list[str | Path] = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
    command += [file, folder / "data"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder / "data"
