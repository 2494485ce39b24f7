"""What the played API server answers, for each state of the page."""

import json
from typing import Any

from aiohttp import web

from tests.integration.cli import fake_api
from tests.integration.cli.fake_api import FakeApi
from tests.unit.cli import objects
from tests.unit.cli.objects import gpu, metadata, node, share
from unigpu import cordons, names
from unigpu.cordons import Cordon
from unigpu.gpus import Fault
from unigpu.units import GpuUuid, MiB
from unigpu_kube import objects as paths

Json = dict[str, Any]
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
SYSTEM = f"{paths.NAMESPACES}/{names.SYSTEM_NAMESPACE}/pods"
PROXY = f"{paths.NAMESPACES}/monitoring/services/prometheus:web/proxy/api/v1/query_range"
FORBIDDEN: fake_api.Answer = (403, {"message": 'pods is forbidden: User "jane" cannot list resource "pods"'})
UUIDS = [[GpuUuid(f"GPU-{host}{index}00c0de-0000-4000-8000-00000000000{index}") for index in range(4)] for host in "ab"]


def empty(fake: FakeApi) -> None:
    """Two nodes, and no pod."""
    _answer(
        fake, [node(f"gpu-{n + 1}", *(gpu(uuid, at) for at, uuid in enumerate(UUIDS[n]))) for n in range(2)], [], []
    )


def busy(fake: FakeApi) -> None:
    """Shares of four teams, with live use, and a history."""
    nodes = [node(f"gpu-{n + 1}", *(gpu(uuid, at) for at, uuid in enumerate(UUIDS[n]))) for n in range(2)]
    pods = []
    for number in range(26):
        uuid = UUIDS[number % 2][(number // 2) % (4 - number % 2)]
        team = ("vision", "speech", "ads", "research")[number % 4]
        name = f"trainer-{number}-5c7d8f9b4-x{number:02}q"
        shares = share(1024 * (1 + number % 5), 5 * (number % 6), uuid)
        pods.append(metadata(name, shares, on=f"gpu-{number % 2 + 1}", namespace=team))
    pods.append(metadata("whole", share(24576, 100, UUIDS[1][3], whole=True), on="gpu-2", namespace="research"))
    del pods[13:26:8]
    waiting = [objects.pending("large-batch", objects.UNSCHEDULABLE, request=objects.asked(20480, 90))]
    _answer(fake, nodes, pods, waiting)


def faults(fake: FakeApi) -> None:
    """Everything that needs a person."""
    sick = gpu(UUIDS[0][1], 1, healthy=False, fault=Fault("XID 79", "2026-01-01T00:00:00Z", "boot"))
    foreign = gpu(UUIDS[0][2], 2, foreign=MiB(3072))
    first = node("gpu-1", gpu(UUIDS[0][0], 0, 4096), sick, foreign, gpu(UUIDS[0][3], 3))
    cordon = Cordon("row remapping pending", "2026-01-01T00:00:00Z")
    first.metadata["annotations"][names.ANNOTATION_CORDONED] = cordons.dump({UUIDS[0][3]: cordon})
    second = node("gpu-2", *(gpu(uuid, at) for at, uuid in enumerate(UUIDS[1])), condition="NotReady")
    pods = [
        metadata("over", share(6144, 50, UUIDS[0][0]), on="gpu-1"),
        metadata("on-a-sick-gpu", share(8192, 50, UUIDS[0][1]), on="gpu-1", namespace="vision"),
        metadata("lost", share(1024, 10, GpuUuid("GPU-gone")), on="gpu-2"),
    ]
    _answer(fake, [first, second], pods, [objects.pending("w", objects.UNSCHEDULABLE)])
    fake.answers[PROXY] = fake.answers[SYSTEM] = FORBIDDEN
    about = {"kind": "Node", "name": "gpu-1"}
    event = {
        "involvedObject": about,
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "reason": names.EVENT_GPU_UNHEALTHY,
        "message": "GPU 1 is unhealthy: XID 79; nothing new is placed on it",
        "count": 3,
    }
    fake.answers["/api/v1/events"] = lambda request: fake_api.items(
        *([event] if names.EVENT_GPU_UNHEALTHY in request.query["fieldSelector"] else [])
    )


def no_rights(fake: FakeApi) -> None:
    """A token that the API server knows, and that may read nothing."""
    fake.answers = {paths.NODES: FORBIDDEN, paths.PODS: FORBIDDEN, f"{paths.NAMESPACES}/default/pods": FORBIDDEN}
    fake.answers[REVIEW] = (201, {"status": {"userInfo": {"username": "jane"}}})


def _answer(fake: FakeApi, nodes: list[Any], pods: list[Json], waiting: list[Json]) -> None:
    def listed(request: web.Request) -> fake_api.Answer:
        if "=Pending" in request.query.get("fieldSelector", ""):
            return fake_api.items(*waiting)
        return fake_api.items(*({"metadata": one} for one in pods))

    def agents(request: web.Request) -> fake_api.Answer:
        host = request.query["fieldSelector"].partition("=")[2]
        pod = {"metadata": {"name": f"agent-{host}"}, "spec": {"nodeName": host}}
        return fake_api.items(pod)

    fake.answers = {
        paths.NODES: fake_api.table(*((one.condition, dict(one.metadata)) for one in nodes)),
        paths.PODS: listed,
        REVIEW: (201, {"status": {"userInfo": {"username": "jane@example.org"}}}),
        "/api/v1/events": fake_api.items(),
        SYSTEM: agents,
        PROXY: _history,
    }
    for pod in waiting:
        fake.answers[paths.pod("team", pod["metadata"]["name"])] = (200, pod)
    for number, one in enumerate(nodes):
        path = f"{SYSTEM}/agent-{one.metadata['name']}:{names.PORT_EXPORTER}/proxy/metrics"
        fake.answers[path] = (200, _exporter(one.metadata["name"], number, pods))


def _exporter(host: str, number: int, pods: list[Json]) -> str:
    lines = []
    for index, uuid in enumerate(UUIDS[number]):
        of = f'{{node="{host}",gpu="{index}",uuid="{uuid}"}}'
        lines.append(f"{names.METRIC_GPU_MEMORY_USED}{of} {(index + 1) * 2 << 30}")
        lines.append(f"{names.METRIC_GPU_UTILISATION}{of} {0.2 * (index + 1)}")
    for pod in pods:
        for one in json.loads(pod["annotations"][names.ANNOTATION_ALLOCATION])["containers"]["main"]:
            about = f'namespace="{pod["namespace"]}",pod="{pod["name"]}",container="main"'
            of = f'{{{about},node="{host}",uuid="{one["gpu"]}"}}'
            lines.append(f"{names.METRIC_MEMORY_USED}{of} {700 << 20}")
    return "\n".join(lines) + "\n"


def _history(request: web.Request) -> fake_api.Answer:
    end, start = float(request.query["end"]), float(request.query["start"])
    scale = 2**30 * 60 if "bytes" in request.query["query"] else 4
    values = [[start + 60 * at, str(scale * (1 + (at % 17) / 17))] for at in range(20, int((end - start) / 60) + 1)]
    return 200, {"status": "success", "data": {"result": [{"metric": {}, "values": values}]}}
