"""The page over HTTP: whose rights count, what is sent, what is refused, and that a token goes nowhere else."""

import logging

import pytest
from aiohttp import web

from page import routes
from tests.integration.cli import fake_api
from tests.integration.cli.fake_api import FakeApi
from tests.integration.page.conftest import TOKEN, serving
from tests.unit.cli import objects
from tests.unit.cli.objects import gpu, metadata, node, share
from unigpu import names
from unigpu_kube import objects as paths

REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
FORBIDDEN: fake_api.Answer = (403, {"message": 'pods is forbidden: User "x" cannot list resource "pods"'})
AGENT = {"metadata": {"name": "unigpu-node-agent-x"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}
EXPORTER = """\
unigpu_container_memory_used_bytes{namespace="team",pod="p",container="main",node="n1",gpu="0",uuid="GPU-a"} 1048576
unigpu_container_gpu_seconds_total{namespace="team",pod="p",container="main",node="n1",gpu="0",uuid="GPU-a"} 5
unigpu_gpu_memory_used_bytes{node="n1",gpu="0",uuid="GPU-a"} 2097152
unigpu_gpu_utilisation_ratio{node="n1",gpu="0",uuid="GPU-a"} 0.5
"""


def pods(request: web.Request) -> fake_api.Answer:
    if "=Pending" in request.query.get("fieldSelector", ""):
        return fake_api.items(objects.pending("w", objects.UNSCHEDULABLE))
    return fake_api.items({"metadata": metadata("p", share(4096, 30))})


@pytest.fixture
def cluster(fake: FakeApi) -> FakeApi:
    found = node("n1", gpu())
    fake.answers = {
        paths.NODES: fake_api.table((found.condition, dict(found.metadata))),
        paths.PODS: pods,
        REVIEW: (201, {"status": {"userInfo": {"username": "jane"}}}),
    }
    return fake


def address(fake: FakeApi) -> str:
    return f"http://127.0.0.1:{fake.port}"


async def test_the_same_document_as_the_command_line(cluster: FakeApi) -> None:
    async with serving(address(cluster)) as page:
        status, found, _ = await page.ask("/api/status.json")
        assert (status, found["apiVersion"]) == (200, "unigpu.dev/status/v1")
        assert found["nodes"][0]["gpuList"][0]["containers"][0]["pod"] == "p"
        assert found["pending"][0]["pod"] == "w"
        assert (await page.ask("/api/viewer.json"))[1] == {"name": "jane", "history": False}


async def test_every_request_carries_the_viewers_token_and_no_other(cluster: FakeApi) -> None:
    seen: list[str] = []

    def noted(request: web.Request) -> fake_api.Answer:
        seen.append(request.headers.get("Authorization", ""))
        return pods(request)

    cluster.answers[paths.PODS] = noted
    async with serving(address(cluster)) as page:
        await page.ask("/api/status.json", token="one")
        await page.ask("/api/status.json", token="", **{names.HEADER_TOKEN: "two"})
        assert set(seen) == {"Bearer one", "Bearer two"}
        before = len(cluster.asked)
        status, found, response = await page.ask("/api/status.json", token="")
        assert (status, len(cluster.asked)) == (401, before), "nobody is asked on behalf of nobody"
        assert "your own token" in found["error"] and response.headers["WWW-Authenticate"] == "Bearer"


async def test_a_token_is_neither_logged_nor_in_an_address(cluster: FakeApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    cluster.answers[paths.PODS] = (500, {"message": "down"})
    async with serving(address(cluster)) as page:
        assert (await page.ask("/api/status.json"))[0] == 503
        async with page.session.get(f"{page.metrics}/metrics") as response:
            metrics = await response.text()
    assert 'unigpu_page_requests_total{path="/api/status.json",status="503"} 1.0' in metrics
    assert TOKEN not in caplog.text + metrics + " ".join(cluster.asked)


async def test_a_viewer_without_rights_sees_nothing_and_one_with_few_sees_its_namespace(cluster: FakeApi) -> None:
    cluster.answers[paths.NODES] = cluster.answers[paths.PODS] = FORBIDDEN
    cluster.answers[f"{paths.NAMESPACES}/default/pods"] = FORBIDDEN
    async with serving(address(cluster)) as page:
        for path in ("/api/status.json", "/api/overview.json"):
            status, found, _ = await page.ask(path)
            assert (status, list(found)) == (403, ["error"])
            assert found["error"].startswith("you don't have the right to do this")
        cluster.answers[f"{paths.NAMESPACES}/team/pods"] = pods
        status, found, _ = await page.ask("/api/status.json?namespace=team")
        assert (status, found["complete"], len(found["notes"])) == (200, False, 2)


async def test_a_service_accounts_own_namespace_is_meant(cluster: FakeApi) -> None:
    cluster.answers[REVIEW] = (201, {"status": {"userInfo": {"username": "system:serviceaccount:team:robot"}}})
    cluster.answers[paths.PODS] = FORBIDDEN
    cluster.answers[f"{paths.NAMESPACES}/team/pods"] = pods
    async with serving(address(cluster)) as page:
        status, found, _ = await page.ask("/api/status.json")
        assert (status, found["namespace"]) == (200, "team")


async def test_an_expired_token_is_refused_at_once(cluster: FakeApi) -> None:
    async with serving(address(cluster), refresh=0.001) as page:
        assert (await page.ask("/api/status.json"))[0] == 200
        for path in (paths.NODES, paths.PODS, REVIEW):
            cluster.answers[path] = (401, {"message": "Unauthorized"})
        status, found, _ = await page.ask("/api/viewer.json")
        while status == 200:
            status, found, _ = await page.ask("/api/status.json")
        assert status == 401 and "doesn't accept your credentials" in found["error"]


async def test_an_unchanged_document_isnt_sent_again(cluster: FakeApi) -> None:
    async with serving(address(cluster)) as page:
        _, _, response = await page.ask("/api/status.json")
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert names.HEADER_TOKEN in response.headers["Vary"]
        status, body, _ = await page.ask("/api/status.json", **{"If-None-Match": response.headers["ETag"]})
        assert (status, body) == (304, "")


@pytest.mark.parametrize("kind", ["gzip", "identity"])
async def test_documents_come_compressed_or_plain(cluster: FakeApi, kind: str) -> None:
    async with serving(address(cluster)) as page:
        _, found, response = await page.ask("/api/overview.json", **{"Accept-Encoding": kind})
        assert response.headers.get("Content-Encoding", "identity") == kind
        assert found["total"]["gpus"] == 1


async def test_live_use_comes_from_the_exporters_of_the_nodes_that_are_named(cluster: FakeApi) -> None:
    system = f"{paths.NAMESPACES}/{names.SYSTEM_NAMESPACE}/pods"
    cluster.answers[system] = lambda request: fake_api.items(*([AGENT] if "n1" in request.query_string else []))
    cluster.answers[f"{system}/unigpu-node-agent-x:{names.PORT_EXPORTER}/proxy/metrics"] = (200, EXPORTER)
    async with serving(address(cluster)) as page:
        status, found, _ = await page.ask("/api/use.json?node=n1&node=n2")
        assert status == 200 and found["notes"] == ["no exporter of unigpu runs on node n2"]
        assert found["gpus"] == {"GPU-a": {"memoryUsed": 2, "utilisation": 0.5}}
        assert (found["containers"][0]["memoryUsed"], found["containers"][0]["computeRatio"]) == (1, None)
        _, found, _ = await page.ask("/api/use.json?node=n1")
        assert found["containers"][0]["computeRatio"] == 0
        cluster.answers[system] = FORBIDDEN
        status, found, _ = await page.ask("/api/use.json?node=n1")
        assert status == 403 and "`get` on pods/proxy" in found["error"]


async def test_history_comes_from_prometheus_through_the_api_server(cluster: FakeApi) -> None:
    proxy = f"{paths.NAMESPACES}/monitoring/services/prometheus:web/proxy/api/v1/query_range"
    asked: list[dict[str, str]] = []

    def answer(request: web.Request) -> fake_api.Answer:
        asked.append(dict(request.query))
        values = [[float(request.query["end"]), "7"]]
        return 200, {"status": "success", "data": {"result": [{"metric": {}, "values": values}]}}

    cluster.answers[proxy] = answer
    async with serving(address(cluster), prometheus="monitoring/prometheus:web") as page:
        status, found, _ = await page.ask("/api/history.json?namespace=team")
        assert status == 200 and len(found["times"]) == 61
        assert found["series"]["shares"] == [None] * 60 + [7]
        assert all('namespace="team"' in one["query"] for one in asked)
        cluster.answers[proxy] = FORBIDDEN
        assert (await page.ask("/api/history.json"))[0] == 403
    async with serving(address(cluster)) as page:
        status, found, _ = await page.ask("/api/history.json")
        assert status == 400 and "page.prometheus" in found["error"]


async def test_events_are_the_newest_first_and_of_the_own_namespace_where_others_are_closed(cluster: FakeApi) -> None:
    def events(request: web.Request) -> fake_api.Answer:
        if "GpuBreach," not in request.query["fieldSelector"] + ",":
            return fake_api.items()
        return fake_api.items(*({"lastTimestamp": f"2026-01-01T00:00:0{n}Z", "message": str(n)} for n in range(3)))

    cluster.answers["/api/v1/events"] = FORBIDDEN
    cluster.answers[paths.events("default")] = events
    async with serving(address(cluster)) as page:
        _, found, _ = await page.ask("/api/events.json")
        assert (found["namespace"], [one["message"] for one in found["events"]]) == ("default", ["2", "1", "0"])


async def test_a_pod_that_waits_is_explained(cluster: FakeApi) -> None:
    cluster.answers[paths.pod("team", "w")] = (200, objects.pending("w", objects.UNSCHEDULABLE))
    async with serving(address(cluster)) as page:
        _, found, _ = await page.ask("/api/explain.json?namespace=team&pod=w")
        assert "Why it waits" in [section["title"] for section in found["sections"]]
        status, found, _ = await page.ask("/api/explain.json?namespace=team&pod=gone")
        assert status == 404 and "not found" in found["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/status.json?namespace=../../x",
        "/api/history.json?namespace=a%22%7D",
        "/api/use.json?node=a%2Fb",
        "/api/explain.json?namespace=team&pod=a/b",
        "/api/explain.json?namespace=team",
        "/api/events.json?namespace=%2e%2e",
    ],
)
async def test_a_name_that_cant_be_one_is_refused(cluster: FakeApi, path: str) -> None:
    async with serving(address(cluster), prometheus="monitoring/prometheus:web") as page:
        status, found, _ = await page.ask(path)
        assert (status, "accepted:" in found["error"]) == (400, True)
        assert not [one for one in cluster.asked if ".." in one or "%2" in one]


async def test_files_run_nothing_from_elsewhere_and_nothing_may_frame_them(fake: FakeApi) -> None:
    async with serving(address(fake)) as page:
        for path in ("/", "/main.js", "/style.css", "/nowhere", "/api/status.json"):
            status, body, response = await page.ask(path, token="")
            assert status == {"/nowhere": 404, "/api/status.json": 401}.get(path, 200)
            assert {key: response.headers[key] for key in routes.HEADERS} == routes.HEADERS
            assert "http:" not in str(body).replace("http://www.w3.org/2000/svg", ""), "nothing is fetched elsewhere"
        async with page.session.post(f"{page.address}/api/status.json") as refused:
            assert refused.status == 405


async def test_health(fake: FakeApi) -> None:
    async with serving(address(fake)) as page:
        for path in ("/healthz", "/readyz", "/metrics"):
            async with page.session.get(f"{page.metrics}{path}") as response:
                assert response.status == 200


async def test_an_api_server_that_doesnt_answer_is_one_sentence(fake: FakeApi) -> None:
    async with serving("http://127.0.0.1:1") as page:
        status, found, _ = await page.ask("/api/status.json")
        assert (status, found["error"].startswith("no cluster answers at 127.0.0.1:1")) == (503, True), found
