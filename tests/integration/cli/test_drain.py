"""`kubectl unigpu drain` against an API server that evicts as the real one does: budgets, and ends at every step."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cli import __main__ as cli
from tests.integration.cli.fake_api import Answer, FakeApi, items
from tests.unit.cli.test_drain import A, B, pod
from unigpu import cordons, gpus, names
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB

Json = dict[str, Any]
_EVICTION = re.compile(r"/api/v1/namespaces/team/pods/([^/]+)/eviction")


INTERRUPTIBLE = (
    "import signal, sys; from cli.__main__ import main; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main(sys.argv[1:]))"
)
"""The command line, which SIGINT ends also where the tests were started with SIGINT ignored."""


class Cluster(FakeApi):
    """A node with two GPUs, its pods, and one disruption budget."""

    def __init__(self) -> None:
        super().__init__()
        inventory = gpus.dump([Gpu(GpuUuid(uuid), at, at, "X", MiB(9000)) for at, uuid in enumerate((A, B))])
        self.node: Json = {
            "metadata": {"name": "n1", "resourceVersion": "1", "annotations": {names.ANNOTATION_INVENTORY: inventory}}
        }
        self.pods: dict[str, Json] = {}
        self.allowed = 9
        """Evictions that the budget allows; it protects all pods."""
        self.evictions: list[Json] = []
        """Those that were carried out."""
        self.ends_after = 2
        """A pod is gone after it was listed so often as being deleted."""
        self.before_answer: Callable[[int], None] = lambda _: None
        """Called with the number of each request, after it was carried out."""

    def add(self, *documents: Json) -> None:
        self.pods |= {one["metadata"]["name"]: one for one in documents}

    @property
    def cordoned(self) -> dict[GpuUuid, cordons.Cordon]:
        return cordons.load(self.node["metadata"]["annotations"].get(names.ANNOTATION_CORDONED))

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path_qs}")
        status, body = self._answer(request.method, request.path, await request.read())
        self.before_answer(len(self.asked))
        return web.json_response(body, status=status)

    def _answer(self, method: str, path: str, body: bytes) -> Answer:
        eviction = _EVICTION.fullmatch(path)
        if path == "/api/v1/nodes/n1" and method == "GET":
            return 200, self.node
        if path == "/api/v1/nodes/n1" and method == "PATCH":
            change = json.loads(body)["metadata"]
            if change["resourceVersion"] != self.node["metadata"]["resourceVersion"]:
                return 409, {"message": "the object has been modified"}
            self.node["metadata"]["annotations"] |= change["annotations"]
            self.node["metadata"]["resourceVersion"] += "1"
            return 200, self.node
        if path == "/api/v1/pods":
            return items(*self._listed())
        if path == "/apis/policy/v1/poddisruptionbudgets":
            about = {"namespace": "team", "name": "all"}
            status = {"disruptionsAllowed": self.allowed}
            return items({"metadata": about, "spec": {"selector": {}}, "status": status})
        if eviction and method == "POST":
            return self._evict(eviction[1], json.loads(body))
        return 404, {"message": f"{path} not found"}

    def _listed(self) -> list[Json]:
        for name, one in tuple(self.pods.items()):
            if "deletionTimestamp" in one["metadata"]:
                one["seen"] = one.get("seen", 0) + 1
                if one["seen"] > self.ends_after:
                    del self.pods[name]
        return [{key: value for key, value in one.items() if key != "seen"} for one in self.pods.values()]

    def _evict(self, name: str, eviction: Json) -> Answer:
        found = self.pods.get(name)
        if found is None:
            return 404, {"message": f'pods "{name}" not found'}
        if eviction["deleteOptions"]["preconditions"]["uid"] != found["metadata"]["uid"]:
            return 409, {"message": "the UID in the precondition does not match"}
        if "deletionTimestamp" not in found["metadata"]:
            if not self.allowed:
                return 429, {"message": "Cannot evict pod as it would violate the pod's disruption budget."}
            self.allowed -= 1
            found["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
            self.evictions.append(eviction)
        return 201, {"status": "Success"}


@pytest.fixture
def api() -> Cluster:
    return Cluster()


@pytest.fixture
def kubeconfig(api: Cluster, tmp_path: Path) -> Iterator[Path]:
    with api.running(tmp_path) as path:
        yield path


def drain(kubeconfig: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, output and errors."""
    command = ["drain", "n1/0", *arguments, "--kubeconfig", str(kubeconfig)]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = cli.main(command)
    return status, out.getvalue(), err.getvalue()


def test_pods_of_the_gpu_leave_and_others_stay(api: Cluster, kubeconfig: Path) -> None:
    api.add(pod("a", A), pod("both", A, B), pod("other", B))
    status, out, err = drain(kubeconfig, "--yes", "--reason", "fans", "--grace-period", "5")
    assert (status, err) == (0, "")
    assert out.splitlines()[:3] == [
        "GPU 0 (GPU-a) of node n1: 2 pods have shares",
        "  pod team/a (1000 MiB and 20 %): is evicted; ReplicaSet web-5d creates another",
        "  pod team/both (1000 MiB and 20 %): is evicted; ReplicaSet web-5d creates another",
    ]
    assert out.splitlines()[-1] == "no pod has a share of the GPU"
    assert {"pod team/a: evicted", "pod team/a: gone", "pod team/both: gone"} <= set(out.splitlines())
    assert set(api.pods) == {"other"}
    assert api.cordoned[A].reason == "fans"
    assert [one["deleteOptions"]["gracePeriodSeconds"] for one in api.evictions] == [5, 5]


def test_a_dry_run_changes_nothing(api: Cluster, kubeconfig: Path) -> None:
    api.add(pod("a", A))
    status, out, _ = drain(kubeconfig, "--dry-run")
    assert status == 0 and "pod team/a" in out
    assert all(one.startswith("GET ") for one in api.asked)
    api.add(pod("lone", A, owned=False))
    assert drain(kubeconfig, "--dry-run")[0] == 1, "it would be refused"


def test_without_consent_nothing_is_changed(api: Cluster, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.add(pod("a", A))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    status, _, err = drain(kubeconfig)
    assert (status, err) == (1, "refused: consent can't be asked for without a terminal; accepted: --yes\n")
    terminal = io.StringIO("n\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert drain(kubeconfig)[0] == 1
    assert not api.cordoned and not api.evictions
    terminal.truncate(0)
    terminal.seek(0)
    terminal.write("y\n")
    terminal.seek(0)
    assert drain(kubeconfig)[0] == 0
    assert not api.pods


def test_a_pod_that_would_be_lost_is_refused_before_anything_happens(api: Cluster, kubeconfig: Path) -> None:
    api.add(pod("a", A), pod("lone", A, owned=False))
    status, out, err = drain(kubeconfig, "--yes")
    assert status == 1 and "accepted: --force" in out and "nothing was changed" in err
    assert not api.cordoned and not api.evictions
    assert drain(kubeconfig, "--yes", "--force")[0] == 0


def test_a_budget_is_waited_for(api: Cluster, kubeconfig: Path) -> None:
    api.add(pod("a", A), pod("b", A))
    api.allowed = 1

    def allow_more(_: int) -> None:
        if len(api.pods) == 1 and not api.allowed:
            api.allowed = 1

    api.before_answer = allow_more
    status, out, err = drain(kubeconfig, "--yes")
    assert (status, err) == (0, "")
    assert "pod team/b: waits: disruption budget team/all allows no eviction now" in out
    assert not api.pods


def test_what_blocks_is_said_at_the_end(api: Cluster, kubeconfig: Path) -> None:
    api.add(pod("a", A, metadata={"finalizers": ["example.com/backup"]}), pod("b", A))
    api.allowed, api.ends_after = 1, 1_000_000
    status, _, err = drain(kubeconfig, "--yes", "--timeout", "1.2")
    assert status == 1
    assert err.splitlines() == [
        "error: not empty after 1.2 s",
        "pod team/a: it is being deleted since 2026-01-31T12:00:00Z, and waits for example.com/backup",
        "pod team/b: disruption budget team/all allows no eviction now "
        "(Cannot evict pod as it would violate the pod's disruption budget.)",
        "the GPU stays cordoned; the same command goes on, and uncordon ends it",
    ]


def test_a_pod_that_was_bound_at_the_last_moment_leaves_too(api: Cluster, kubeconfig: Path) -> None:
    api.add(pod("a", A))
    late: Json = pod("late", A)

    def bind(_: int) -> None:
        if api.cordoned and api.evictions and "late" not in api.pods and len(api.evictions) == 1:
            api.add(late)

    api.before_answer = bind
    assert drain(kubeconfig, "--yes")[0] == 0
    assert [one["metadata"]["name"] for one in api.evictions] == ["a", "late"]


def _kill(process: "subprocess.Popen[bytes]", how: signal.Signals) -> None:
    os.kill(process.pid, how)
    process.wait(60)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_at_every_step_the_same_command_goes_on(how: signal.Signals, tmp_path: Path) -> None:
    """A whole run makes so many requests; after each of them, carried out but not answered, the command ends."""
    step = 1
    while True:
        api = Cluster()
        api.add(pod("a", A), pod("b", A), pod("other", B))
        api.ends_after = 0
        with api.running(tmp_path) as kubeconfig:
            command = [sys.executable, "-c", INTERRUPTIBLE, "drain", "n1/0", "--yes", "--reason", "fans"]
            process = subprocess.Popen(
                [*command, "--kubeconfig", str(kubeconfig)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )

            def end(number: int, process: "subprocess.Popen[bytes]" = process, at: int = step) -> None:
                if number == at:
                    _kill(process, how)

            api.before_answer = end
            said, wrong = process.communicate(timeout=120)
            if process.returncode == 0:
                assert step > 8, "the run was never interrupted"
                return
            if how is signal.SIGINT:
                assert process.returncode == 130, (step, said, wrong)
                assert b"uncordon" in wrong or not api.cordoned, (step, wrong)
            before = api.cordoned
            api.before_answer = lambda _: None
            status, out, err = drain(kubeconfig, "--yes")
        assert (status, err) == (0, ""), (step, said, out)
        assert set(api.pods) == {"other"}
        assert sorted(one["metadata"]["name"] for one in api.evictions) == ["a", "b"], "each is evicted once"
        assert api.cordoned[A].reason == ("fans" if before else "")
        if before:
            assert api.cordoned == before, "the cordon keeps its time and reason"
        step += 1
