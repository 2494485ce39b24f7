"""`helm test` with a server of the test's own, whose webhook is the project's translation."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from tests.chart.rendering import ROOT, Document
from tests.chart.test_jobs import run
from unigpu import names


class Server(http.server.BaseHTTPRequestHandler):
    """Nodes as the test sets them; a dry run answers the pod as `kubectl unigpu translate` shows it."""

    nodes: ClassVar[list[Document]] = []
    scheduler: ClassVar[str | None] = None

    def do_GET(self) -> None:
        """Two pages of nodes."""
        first, rest = self.nodes[:1], self.nodes[1:]
        if "continue=more" in self.path:
            self.answer(200, {"items": rest, "metadata": {}})
        else:
            self.answer(200, {"items": first, "metadata": {"continue": "more"} if rest else {}})

    def do_POST(self) -> None:
        """Translate."""
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        assert self.path == "/api/v1/namespaces/default/pods?dryRun=All"
        command = [sys.executable, "-m", "cli", "translate", "-f", "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT)
        pod = yaml.safe_load(done.stdout)
        if self.scheduler:
            pod["spec"]["schedulerName"] = self.scheduler
        self.answer(201, pod)

    def answer(self, code: int, document: Document) -> None:
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def node(name: str, slots: str) -> Document:
    annotations = {names.ANNOTATION_INVENTORY: "{}"}
    status = {"allocatable": {names.RESOURCE_VGPU: slots}}
    return {"metadata": {"name": name, "annotations": annotations}, "status": status}


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run the check on a server with these nodes."""
    (tmp_path / "token").write_text("x")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def checked(*known: Document, scheduler: str | None = None) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(Server, "nodes", list(known))
        monkeypatch.setattr(Server, "scheduler", scheduler)
        address = f"http://127.0.0.1:{server.server_port}"
        return run("--server", address, "--token", str(tmp_path / "token"), "check", "--namespace", "default")

    yield checked
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_installation_that_works(check: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = check(node("a", "16"), node("b", "32"), {"metadata": {"name": "plain"}, "status": {}})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "node a: GPUs for up to 16 shares",
        "node b: GPUs for up to 32 shares",
        "a pod in the unified form: translated",
        "a pod of a vendor's: translated",
        "a pod with a forged annotation: the annotation is dropped",
    ]


def test_a_node_whose_agent_is_down_is_named(check: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = check(node("a", "16"), node("b", "0"))
    assert done.returncode == 1
    assert done.stderr == (
        f"error: node b: allocatable {names.RESOURCE_VGPU} = 0: its device plugin isn't registered with the kubelet\n"
    )


def test_a_cluster_without_gpus_does_not_pass(check: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = check({"metadata": {"name": "plain"}, "status": {}})
    assert done.returncode == 1
    assert f"no node has the annotation {names.ANNOTATION_INVENTORY}" in done.stderr


def test_another_scheduler_is_noticed(check: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = check(node("a", "16"), scheduler="default-scheduler")
    assert "spec.schedulerName = default-scheduler: not unigpu-scheduler" in done.stderr


def test_a_server_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    done = run("--server", "http://127.0.0.1:1", "--token", str(tmp_path / "token"), "check", "--namespace", "default")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the API server doesn't answer: ") and done.stderr.count("\n") == 1
