"""Every command on a terminal of 80 columns: help, wrong arguments, no cluster, no rights, and in a pipe."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cli import __main__ as cli
from tests.chart.rendering import ROOT
from tests.integration.cli.fake_api import FakeApi
from tests.page import clusters, terminal
from tests.page.terminal import COLUMNS, Output
from unigpu_kube import objects as paths

PICTURES = ROOT / "build" / "terminal"
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {containers: [{name: main, image: x, resources: {limits: {aliyun.com/gpu-mem: 3}}}]}
"""
NEEDS: dict[str, list[str]] = {
    "status": [],
    "top": ["--once"],
    "explain": ["p"],
    "limit": ["p", "--cores", "20"],
    "cost": ["--prometheus", "monitoring/prometheus:9090"],
    "doctor": [],
    "cordon": ["gpu-1/0"],
    "uncordon": ["gpu-1/0"],
    "drain": ["gpu-1/0", "--dry-run"],
    "plan": ["-f", "{pod}"],
    "version": [],
}
"""Arguments of each command that asks a cluster."""
ALONE: dict[str, list[str]] = {
    "translate": ["-f", "{pod}"],
    "completion": ["bash"],
    "run": ["--cores", "20", "--library", "/bin/true", "--", "true"],
}
"""And of those that don't."""
TOLD = {"doctor", "version"}
"""Commands that say of each part what they may not read, instead of refusing."""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "pod.yaml"
    path.write_text(POD)
    return path


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A kubeconfig of a cluster that doesn't answer."""
    path = tmp_path / "nowhere"
    path.write_text(yaml.safe_dump(_kubeconfig("http://127.0.0.1:1")))
    return path


def _kubeconfig(address: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": "x"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }


@pytest.fixture
def closed(fake: FakeApi, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig of an account without any right."""
    answer = (403, {"message": 'pods is forbidden: User "jane" cannot list resource "pods" in API group ""'})
    fake.answers = _Everything(answer)
    path = tmp_path / "closed"
    path.write_text(yaml.safe_dump(_kubeconfig(f"http://127.0.0.1:{fake.port}")))
    yield path


class _Everything(dict):  # type: ignore[type-arg]
    """The same answer for each path."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def get(self, key: object, default: object = None) -> object:
        return self._answer


def filled(arguments: list[str], manifest: Path) -> list[str]:
    return [word.format(pod=manifest) for word in arguments]


def check(found: Output) -> Output:
    assert "Traceback" not in found.text, found.text
    assert found.widest <= COLUMNS or len(found.lines) == 1, "\n".join(found.lines)
    return found


def test_these_are_all_commands() -> None:
    assert NEEDS.keys() | ALONE.keys() == cli.COMMANDS.keys()


async def test_help(manifest: Path) -> None:
    outputs = [check(terminal.run(name, "--help")) for name in cli.COMMANDS]
    assert [one.status for one in outputs] == [0] * len(outputs)
    await terminal.picture([check(terminal.run("--help")), *outputs], PICTURES / "help.png")


async def test_wrong_arguments() -> None:
    outputs = [terminal.run(name, "--no-such-option") for name in cli.COMMANDS]
    for one in outputs:
        assert one.status == 2 and "usage: kubectl unigpu" in one.text and "error:" in one.text
        assert "Traceback" not in one.text
    await terminal.picture(outputs, PICTURES / "wrong-arguments.png")


async def test_no_cluster(nowhere: Path, manifest: Path) -> None:
    outputs = [
        check(terminal.run(name, *filled(arguments, manifest), "--kubeconfig", str(nowhere)))
        for name, arguments in NEEDS.items()
    ]
    for one in outputs:
        assert one.status == 2, one
        assert "no cluster answers at 127.0.0.1:1" in " ".join(one.text.split()), one
    await terminal.picture(outputs, PICTURES / "no-cluster.png")


async def test_no_rights(closed: Path, manifest: Path) -> None:
    outputs = []
    for name, arguments in NEEDS.items():
        found = terminal.run(name, *filled(arguments, manifest), "--kubeconfig", str(closed))
        outputs.append(check(found))
        if name not in TOLD:
            assert found.status == 1 and "you don't have the right to do this" in found.text, found
    await terminal.picture(outputs, PICTURES / "no-rights.png")


async def test_a_cluster_with_faults(fake: FakeApi, tmp_path: Path, manifest: Path) -> None:
    clusters.faults(fake)
    fake.answers[paths.pod("team", "w")] = fake.answers.get(paths.pod("team", "w"), (404, {}))
    path = tmp_path / "faults"
    path.write_text(yaml.safe_dump(_kubeconfig(f"http://127.0.0.1:{fake.port}")))
    with_cluster = ("--kubeconfig", str(path))
    outputs = [
        check(terminal.run("status", *with_cluster)),
        check(terminal.run("status", "--by", "node", *with_cluster)),
        check(terminal.run("explain", "w", "-n", "team", *with_cluster)),
        terminal.run("translate", "-f", str(manifest)),  # a diff's lines stay whole, as those of `diff` do
    ]
    assert [one.status for one in outputs] == [0] * len(outputs)
    await terminal.picture(outputs, PICTURES / "faults.png")


async def test_a_busy_cluster(fake: FakeApi, tmp_path: Path) -> None:
    clusters.busy(fake)
    path = tmp_path / "busy"
    path.write_text(yaml.safe_dump(_kubeconfig(f"http://127.0.0.1:{fake.port}")))
    outputs = [
        check(terminal.run("status", *arguments, "--kubeconfig", str(path)))
        for arguments in ([], ["--by", "gpu"], ["-n", "vision"])
    ]
    assert [one.status for one in outputs] == [0, 0, 0]
    await terminal.picture(outputs, PICTURES / "busy.png")


@pytest.mark.parametrize("name", [*NEEDS, *ALONE])
def test_a_pipe_gets_no_escapes(name: str, closed: Path, manifest: Path) -> None:
    command = [sys.executable, "-m", "cli", name, *filled({**NEEDS, **ALONE}[name], manifest)]
    if name in NEEDS:
        command += ["--kubeconfig", str(closed)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120)
    assert "\x1b" not in done.stdout + done.stderr
    if name in NEEDS and name not in TOLD:
        assert done.stdout == "" and len(done.stderr.splitlines()) == 1, "one sentence on standard error"
