"""Alerts about unigpu's own parts, provoked: one that is slow, bookings past the scheduler, a webhook out of reach."""

import base64
import contextlib
import http.server
import itertools
import json
import os
import signal as signals
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from cluster import certificates, cgroups
from demo.kube import CommandFailed, wait_for
from tests.cluster import harness
from tests.cluster.conftest import NAME
from tests.cluster.monitoring import NAMESPACE, PATIENCE, SYSTEM, Json, Watched, repeated
from unigpu import allocations, names
from unigpu.allocations import Allocation, Share
from unigpu.units import GpuUuid, MiB, Percent

STARVED, HALTED, FED = 1.0, 1.2, 3.0
"""Seconds in which a slow container gets hardly any processor time, none, and enough: its metrics are read then."""
SENDERS = 3
"""Requests at once."""
LATE = 2.0
"""Seconds that the slow webhook takes."""


def runs(pid: int, module: str) -> bool:
    """Return whether the process runs a module of this project."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return words[1:3] == [b"-m", module.encode()]
    return False


def pods_of(watched: Watched, component: str) -> list[Json]:
    """Return the pods of a part."""
    return watched.kube.items("pods", SYSTEM, f"{names.LABEL_COMPONENT}={component}")


@contextlib.contextmanager
def starved(module: str) -> Iterator[None]:
    """The module's containers get a thousandth of a processor most of the time, as on a node that has none left."""
    ended = threading.Event()
    pids = [pid for pid in harness.processes(NAME) if runs(pid, module)]
    before = {file: file.read_text() for file in map(_quota, pids)}
    assert before

    def signal(number: signals.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # the kubelet may have ended it
                os.kill(pid, number)

    def starve() -> None:
        while not ended.is_set():
            for file in before:
                _write(file, file.name == "cpu.max")
            ended.wait(STARVED)  # requests are under way now, and stay so
            signal(signals.SIGSTOP)
            ended.wait(HALTED)
            signal(signals.SIGCONT)
            for file, text in before.items():
                file.write_text(text)
            ended.wait(FED)

    thread = threading.Thread(target=starve)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _quota(pid: int) -> Path:
    """The file with the processor quota of a process' container, in version 1 or 2 of control groups."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if "cpu" in controllers.split(","):
            return cgroups.MOUNT / "cpu" / group.strip("/") / "cpu.cfs_quota_us"
    return cgroups.MOUNT / group.strip("/") / "cpu.max"


def _write(file: Path, unified: bool) -> None:
    """Allow 1 ms in each second: the least that the kernel accepts, in the longest period."""
    if unified:
        file.write_text("1000 1000000")
    else:
        (file.parent / "cpu.cfs_period_us").write_text("1000000")
        file.write_text("1000")


@contextlib.contextmanager
def sent(act: Callable[[], object]) -> Iterator[None]:
    """Requests, one after another and several at once, while the context lasts."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                act()

    threads = [threading.Thread(target=run) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _untrusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def post(address: str, body: bytes) -> None:
    """Send a request to a part, past the API server."""
    urllib.request.urlopen(address, body, timeout=10, context=_untrusting()).close()


@contextlib.contextmanager
def slow_webhook(watched: Watched) -> Iterator[None]:
    """The webhook gets hardly any processor time, and reviews of pods with many containers come in."""
    containers = [
        {"name": f"c{n}", "image": "x", "resources": {"limits": {"nvidia.com/gpumem": "1"}}} for n in range(500)
    ]
    review = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "slow",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "CREATE",
            "object": {"metadata": {"name": "slow", "namespace": "x"}, "spec": {"containers": containers}},
        },
    }
    body = json.dumps(review).encode()
    addresses = [f"https://{pod['status']['podIP']}:{names.PORT_WEBHOOK}/mutate" for pod in pods_of(watched, "webhook")]

    def send() -> None:
        for address in addresses:
            post(address, body)

    with sent(send), starved("webhook"):
        yield


@contextlib.contextmanager
def failing_extender(watched: Watched) -> Iterator[None]:
    """The API server fails at bindings: it is to ask a webhook of somebody else's that nobody serves."""
    broken = _on_bindings("nobody-serves-it", {"url": "https://127.0.0.1:1/"}, timeout=1)
    unbound = [f"unbound-{number}" for number in range(4)]
    pods = [sleeper(watched, name) for name in unbound]
    watched.kube.apply([broken], NAMESPACE)
    try:
        watched.kube.apply(pods, NAMESPACE)
        yield
    finally:
        watched.kube.run("delete", "validatingwebhookconfiguration", broken["metadata"]["name"])
        watched.kube.run("delete", "pods", *unbound, "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE)


class _Late(http.server.BaseHTTPRequestHandler):
    """An admission webhook that allows everything, after a while."""

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(LATE)
        review["response"] = {"uid": review.pop("request")["uid"], "allowed": True}
        body = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def _late_webhook() -> Iterator[Json]:
    """Serve it on this machine, where the API server runs; yield the `clientConfig`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates.make_all(folder, ["localhost"], ["127.0.0.1"], {})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Late)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "apiserver.crt", folder / "apiserver.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        authority = base64.b64encode((folder / "ca.crt").read_bytes()).decode()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield {"url": f"https://127.0.0.1:{server.server_port}/", "caBundle": authority}
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@contextlib.contextmanager
def slow_extender(watched: Watched) -> Iterator[None]:
    """The API server is slow at bindings, because it asks a webhook of somebody else's that takes its time."""
    name = "takes-its-time"
    with _late_webhook() as client:
        slow = _on_bindings(name, client, timeout=10)
        watched.kube.apply([slow], NAMESPACE)
        numbers = itertools.count()

        def start() -> None:
            number = next(numbers)
            watched.kube.apply([sleeper(watched, f"late-{number}")], NAMESPACE)
            if number >= SENDERS:
                watched.kube.run("delete", "pod", f"late-{number - SENDERS}", "-n", NAMESPACE, "--wait=false")

        try:
            with repeated(start):
                yield
        finally:
            watched.kube.run("delete", "validatingwebhookconfiguration", name)
            last = [f"late-{number}" for number in range(next(numbers))]
            watched.kube.run(
                "delete", "pods", *last, "-n", NAMESPACE, "--grace-period=1", "--ignore-not-found", timeout=PATIENCE
            )


def _on_bindings(name: str, client: Json, timeout: int) -> Json:
    """Somebody else's webhook, which the API server asks before it binds a pod of these tests."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": f"{name}.example.com",
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/binding"]}
                ],
                "clientConfig": client,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": timeout,
            }
        ],
    }


def sleeper(watched: Watched, name: str) -> Json:
    """A pod with a small share whose program does nothing."""
    container: Json = {"name": "main", "image": watched.images["probe"], "command": ["sleep", "100000"]}
    container["resources"] = {"limits": {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: "64"}}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


_REMOUNT = """
import ctypes, os, sys
pid, path, flags = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)
if libc.setns(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY), 0) or libc.mount(None, path, None, flags, None):
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""
"""In another process' view of the file systems, whatever programs its image has."""
_READ_ONLY, _REMOUNTED, _BIND = 1, 32, 4096


@contextlib.contextmanager
def unready_agent(watched: Watched) -> Iterator[None]:
    """The node agent's folder becomes read-only, as after an error of the disk."""
    (pid,) = [pid for pid in harness.processes(NAME) if runs(pid, "deviceplugin")]

    def remount(flags: int) -> None:
        command = [sys.executable, "-c", _REMOUNT, str(pid), names.NODE_ROOT, str(_REMOUNTED | _BIND | flags)]
        subprocess.run(command, check=True)

    remount(_READ_ONLY)
    try:
        yield
    finally:
        remount(0)


@contextlib.contextmanager
def overbooked(watched: Watched) -> Iterator[None]:
    """A pod is put on a node by hand, past webhook and scheduler, and says that it has twice a GPU's memory."""
    (node,) = watched.kube.json("get", "nodes")["items"]
    inventory = json.loads(node["metadata"]["annotations"][names.ANNOTATION_INVENTORY])
    gpu = inventory["gpus"][0]
    name = str(node["metadata"]["name"])
    shares = (Share(GpuUuid(gpu["uuid"]), MiB(2 * gpu["memory"]), Percent(0)),)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "past",
            "annotations": {names.ANNOTATION_ALLOCATION: allocations.dump(Allocation(name, {"main": shares}))},
        },
        "spec": {
            "nodeName": name,
            "schedulerName": names.SCHEDULER_NAME,
            "containers": [{"name": "main", "image": watched.images["probe"], "command": ["sleep", "100000"]}],
            "terminationGracePeriodSeconds": 1,
        },
    }
    with no_webhook(watched):
        watched.kube.apply([pod], NAMESPACE)
    try:
        yield
    finally:
        watched.kube.run("delete", "pod", "past", "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE)


@contextlib.contextmanager
def no_webhook(watched: Watched) -> Iterator[None]:
    """No replica of the webhook, from the moment when the last one has gone."""
    deployment = ("deployment", names.SERVICE_WEBHOOK, "-n", SYSTEM)
    before = watched.kube.json("get", *deployment)["spec"]["replicas"]
    watched.kube.run("scale", *deployment, "--replicas=0")
    try:
        wait_for("no webhook is left", lambda: not pods_of(watched, "webhook"), PATIENCE)
        yield
    finally:
        watched.kube.run("scale", *deployment, f"--replicas={before}")


@contextlib.contextmanager
def unreachable_webhook(watched: Watched) -> Iterator[None]:
    """No webhook answers, and the API server refuses pods that it should have seen."""
    path = ("mutatingwebhookconfiguration", "unigpu-webhook")
    entries = watched.kube.json("get", *path)["webhooks"]
    number = next(n for n, one in enumerate(entries) if one["name"].startswith("translate."))
    limits = {"limits": {names.RESOURCE_VGPU: "1"}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "refused"},
        "spec": {"containers": [{"name": "main", "image": "x", "resources": limits}]},
    }

    def policy(value: str) -> None:
        patch = [{"op": "replace", "path": f"/webhooks/{number}/failurePolicy", "value": value}]
        watched.kube.run("patch", *path, "--type=json", "-p", json.dumps(patch))

    def create() -> None:
        with contextlib.suppress(CommandFailed):
            watched.kube.apply([pod], NAMESPACE)

    before = str(entries[number]["failurePolicy"])
    with no_webhook(watched):
        policy("Fail")
        try:
            with repeated(create):
                yield
        finally:
            policy(before)


LONG = bool(os.environ.get("UNIGPU_SOAK"))
SHORT_FORM: dict[str, Callable[[Watched], contextlib.AbstractContextManager[None]]] = {
    "UnigpuExtenderErrors": failing_extender,
    "UnigpuGpuOverbooked": overbooked,
    "UnigpuExtenderSlow": slow_extender,
    "UnigpuDevicePluginNotReady": unready_agent,
}
LONG_FORM: dict[str, Callable[[Watched], contextlib.AbstractContextManager[None]]] = {
    "UnigpuWebhookSlow": slow_webhook,
    "UnigpuWebhookUnreachable": unreachable_webhook,
}
"""They need a minute each, which `make check-alerts` takes."""
