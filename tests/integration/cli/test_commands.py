"""`status`, `explain`, `doctor`, `top`, `limit` and `version` before an API server that answers as a test wants it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cli import __main__ as cli
from tests.integration.cli.fake_api import Answer, FakeApi, items, table
from tests.unit.cli import objects
from tests.unit.cli.objects import gpu, metadata, node, share
from unigpu import names

FORBIDDEN: Answer = (403, {"message": 'pods is forbidden: User "x" cannot list resource "pods"'})
PROXY = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/pods/agent-1:9400/proxy/metrics"
AGENTS = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/pods"
POD = "/api/v1/namespaces/team/pods"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    fake = FakeApi()
    with fake.running(tmp_path):
        yield fake


@pytest.fixture
def run(api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = cli.main([*arguments, "--kubeconfig", str(tmp_path / "fake-kubeconfig")])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def pods(request: web.Request) -> Answer:
    """All pods: what runs, or what waits."""
    if "Pending" in request.query_string:
        return items(objects.pending("w", objects.UNSCHEDULABLE))
    return items({"metadata": metadata("p", share(4096, 30))}, {"metadata": metadata("q", share(1), namespace="other")})


@pytest.fixture
def cluster(api: FakeApi) -> FakeApi:
    api.answers |= {
        "/api/v1/nodes": table(("Ready", dict(node("n1", gpu()).metadata)), ("Ready", {"name": "cpu"})),
        "/api/v1/pods": pods,
        POD: pods,
    }
    return api


def test_status(cluster: FakeApi, run: Any) -> None:
    status, out, err = run("status")
    assert (status, err) == (0, "")
    assert out.startswith("1 node, 1 GPU: 4/24 GiB granted")
    assert "team/p main" in out and "team/w, for" in out
    assert len(cluster.asked) == 3, "one request for nodes, one for pods, one for those that wait"
    assert json.loads(run("status", "-o", "json")[1])["total"]["shares"] == 2
    assert "other/q" not in run("status", "-n", "team")[1]
    assert run("status", "--node", "cpu") == (1, "", "error: there is no node cpu with GPUs\n")


def test_status_without_cluster_rights_shows_the_own_namespace(cluster: FakeApi, run: Any) -> None:
    cluster.answers["/api/v1/pods"] = FORBIDDEN
    status, out, _ = run("status")
    assert status == 0
    assert out.startswith(
        "Note: you may not list the pods of all namespaces, so only those of namespace team are shown and counted.\n"
    )
    assert "free" not in out.splitlines()[1] and "other/q" not in out
    cluster.answers["/api/v1/nodes"] = (403, {"message": "nodes is forbidden"})
    status, out, _ = run("status", "-o", "json")
    found = json.loads(out)
    assert (status, found["complete"], len(found["notes"])) == (0, False, 2)
    status, out, err = run("status", "-A")
    assert (status, out) == (1, "")
    assert err.startswith("error: you don't have the right to do this: pods is forbidden")


@pytest.mark.parametrize(
    "command", [["status"], ["explain", "p"], ["doctor"], ["top", "--once"], ["limit", "p"], ["version"]]
)
@pytest.mark.parametrize(
    ("answer", "said", "exit_"),
    [
        (
            (401, {"message": "Unauthorized"}),
            "error: the cluster doesn't accept your credentials, or they have expired",
            2,
        ),
        (
            (503, {"message": "etcd is down"}),
            "error: the cluster can't answer now: API server answers 503: etcd is down",
            2,
        ),
        ((200, "<html>"), "error: the cluster doesn't answer", 2),
    ],
)
def test_a_cluster_that_gives_no_answer(
    api: FakeApi, run: Any, command: list[str], answer: Answer, said: str, exit_: int
) -> None:
    def all_of_them(_: web.Request) -> Answer:
        return answer

    api.answers = _Everything(all_of_them)
    status, out, err = run(*command)
    assert (status, out) == (exit_, "")
    assert err.startswith(said) and err.count("\n") == 1


class _Everything(dict[str, Any]):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    def get(self, key: str, default: Any = None) -> Any:
        return self._answer


def test_explain_a_pod_that_waits(cluster: FakeApi, run: Any) -> None:
    asked = objects.asked(99999, 10)
    cluster.answers |= {
        f"{POD}/w": (200, objects.pending("w", objects.UNSCHEDULABLE, request=asked)),
        "/api/v1/nodes/n1": (200, {"status": {"capacity": {names.RESOURCE_VGPU: "2"}}}),
        "/api/v1/namespaces/team": FORBIDDEN,
        "/api/v1/namespaces/team/events": items({"reason": "FailedScheduling", "message": "no", "type": "Warning"}),
    }
    status, out, err = run("explain", "pod/w")
    assert (status, err) == (0, "")
    assert "you may not read namespace team" in out
    assert "GPU 0 T4: too small: it has 24576 MiB in all" in out
    assert "FailedScheduling: no" in out
    assert "Nothing short" in out, "2 slots on 1 GPU, and both are taken: a smaller share doesn't fit either"
    cluster.answers["/api/v1/pods"] = FORBIDDEN
    assert "GPUs can't be explained one by one" in run("explain", "w")[1]


def test_explain_names_a_missing_pod(api: FakeApi, run: Any) -> None:
    api.answers[f"{POD}/x"] = (404, {"message": 'pods "x" not found'})
    assert run("explain", "x") == (1, "", 'error: pods "x" not found\n')


def page(seconds: float) -> str:
    labels = '{namespace="team",pod="p",container="main",node="n1",gpu="0",uuid="GPU-a",model="T4"}'
    return f"{names.METRIC_MEMORY_USED}{labels} {1 << 30}\n{names.METRIC_COMPUTE_SECONDS}{labels} {seconds}\n"


def test_top(api: FakeApi, run: Any) -> None:
    seconds = iter([1.0, 1.25])
    api.answers |= {
        AGENTS: items({"metadata": {"name": "agent-1"}, "spec": {"nodeName": "n1"}}),
        PROXY: lambda _: (200, page(next(seconds))),
    }
    status, out, err = run("top", "--once", "--interval", "0.01")
    assert (status, err) == (0, "")
    head, line = out.splitlines()
    assert head.startswith("POD") and line.startswith("team/p  main") and "1024/any" in line


@pytest.mark.parametrize(
    ("agents", "proxy", "status", "said"),
    [
        (FORBIDDEN, FORBIDDEN, 1, "`get` on pods/proxy and `list` on pods there"),
        (items({"metadata": {"name": "agent-1"}, "spec": {"nodeName": "n1"}}), FORBIDDEN, 1, "`get` on pods/proxy"),
        (items(), FORBIDDEN, 1, "no exporter of unigpu runs in namespace unigpu-system"),
    ],
)
def test_top_says_what_it_lacks(api: FakeApi, run: Any, agents: Answer, proxy: Answer, status: int, said: str) -> None:
    api.answers |= {AGENTS: agents, PROXY: proxy}
    code, out, err = run("top", "--once")
    assert (code, out) == (status, "")
    assert said in err and err.count("\n") == 1


def test_top_goes_on_without_an_exporter(api: FakeApi, run: Any) -> None:
    api.answers |= {
        AGENTS: items({"metadata": {"name": "agent-1"}, "spec": {"nodeName": "n1"}}),
        PROXY: (503, {"message": "connection refused"}),
    }
    status, out, _ = run("top", "--once", "--interval", "0.01")
    assert status == 0
    assert "Note: the exporter of node n1 doesn't answer: API server answers 503: connection refused" in out


def deployment(**selector: str) -> Answer:
    return 200, {"spec": {"selector": {"matchLabels": selector}}}


def test_limits_of_a_deployment(api: FakeApi, run: Any) -> None:
    one, two, plain = (
        {"metadata": {**metadata(name, share(4096, 30)), "resourceVersion": "1"}, "status": {}} for name in "abc"
    )
    plain["metadata"]["annotations"] = {}

    def patch(request: web.Request) -> Answer:
        if request.path.endswith("/b"):
            return 403, {"message": 'admission webhook "protect.unigpu.dev" denied the request: no room'}
        return 200, one

    api.answers |= {
        "/apis/apps/v1/namespaces/team/deployments/web": deployment(app="web"),
        POD: items(two, one, plain),
        f"{POD}/a": patch,
        f"{POD}/b": patch,
    }
    api.warnings = ["the pod is old", "the pod is old"]
    status, out, err = run("limit", "deploy/web", "--memory", "1Gi")
    assert status == 1
    assert out == "pod a: main: 4096 MiB, 30 % (hard) → 1024 MiB, 30 % (hard)\n"
    assert err.splitlines() == [
        "Warning: the pod is old",
        "note: the pods of deployment web that run now are changed; new ones start as requested",
        "note: 1 of 3 pods have no share of a GPU",
        "pod b: refused: no room",
    ]
    assert any("labelSelector=app%3Dweb" in path or "labelSelector=app=web" in path for path in api.asked)
    assert run("limit", "-l", "app=web")[1].splitlines() == [
        "pod a: main: 4096 MiB, 30 % (hard)",
        "pod b: main: 4096 MiB, 30 % (hard)",
    ]
    api.answers[POD] = items(plain)
    assert "none of the pods has a share of a GPU" in run("limit", "-l", "app=web", "--reset")[2]
    api.answers[POD] = items()
    assert "no pod in namespace team has labels app=web" in run("limit", "-l", "app=web", "--reset")[2]


def test_version(api: FakeApi, run: Any) -> None:
    part = {
        "metadata": {"labels": {names.LABEL_COMPONENT: "webhook"}},
        "spec": {"containers": [{"name": "webhook", "image": "registry/unigpu:1"}]},
    }
    api.answers |= {"/version": (200, {"gitVersion": "v1.36.0"}), AGENTS: items(part)}
    status, out, _ = run("version")
    assert status == 0 and "server  v1.36.0" in out and "registry/unigpu:1" in out
    assert json.loads(run("version", "-o", "json")[1])["parts"][0]["ready"] == 0
