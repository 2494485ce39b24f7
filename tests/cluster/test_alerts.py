"""Alerts on a real cluster: provoked, fired in time by the real Prometheus, and ended by what their runbooks say.

The commands of each runbook are given while its alert fires, and each must succeed.

Times of the rules are shorter here; tests/cluster/monitoring.py says how. `make check-alerts` prints the table, and
provokes those too that take a minute each (`UNIGPU_SOAK=1`).
"""

import contextlib
import datetime
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from cryptography import x509

from demo import install
from demo.kube import wait_for
from tests.cluster import harness, runbooks
from tests.cluster.conftest import NAME
from tests.cluster.monitoring import NAMESPACE, PATIENCE, ROOT, SYSTEM, VALUES, Json, Watched, repeated
from tests.cluster.provoked_parts import LONG, LONG_FORM, SHORT_FORM, no_webhook, pods_of, post, runs
from tests.cluster.test_breach import OWN_LOADER, PROBE, stranger
from unigpu import names

CLIENT = ROOT / "build" / "bench" / "compute"
Tell = Callable[[str], None]


def gpu_pod(watched: Watched, name: str, command: list[str], memory: int, cores: int = 0) -> Json:
    limits = {names.RESOURCE_VGPU: "1", names.RESOURCE_MEMORY: str(memory)}
    limits |= {names.RESOURCE_CORES: str(cores)} if cores else {}
    container: Json = {"name": "main", "image": watched.images["probe"], "command": command}
    container["resources"] = {"limits": limits}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1, "restartPolicy": "Never"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@contextlib.contextmanager
def pods(watched: Watched, *documents: Json) -> Iterator[None]:
    """Pods that are there while the context lasts; their runbooks end with the pod's end."""
    watched.kube.apply(list(documents), NAMESPACE)
    try:
        yield
    finally:
        for one in documents:
            watched.kube.run(
                "delete", "pod", one["metadata"]["name"], "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE
            )


@contextlib.contextmanager
def unhealthy(watched: Watched) -> Iterator[None]:
    """A GPU falls off the bus, and is put back."""
    in_node("simulator", "inject", "--gpu", "3", "--lost")
    try:
        yield
    finally:
        in_node("simulator", "inject", "--gpu", "3", "--found")


@contextlib.contextmanager
def silent_driver(watched: Watched) -> Iterator[None]:
    """NVML's calls for a GPU don't come back."""
    in_node("simulator", "inject", "--gpu", "2", "--hang")
    try:
        yield
    finally:
        in_node("simulator", "inject", "--gpu", "2", "--release")


@contextlib.contextmanager
def scaled_down(watched: Watched, deployment: str) -> Iterator[None]:
    """No replica of a part."""
    before = watched.kube.json("get", "deployment", deployment, "-n", SYSTEM)["spec"]["replicas"]
    watched.kube.run("scale", "deployment", deployment, "-n", SYSTEM, "--replicas=0")
    try:
        yield
    finally:
        watched.kube.run("scale", "deployment", deployment, "-n", SYSTEM, f"--replicas={before}")


@contextlib.contextmanager
def no_agents(watched: Watched) -> Iterator[None]:
    """The node agent may run on no node."""
    patch = {"spec": {"template": {"spec": {"nodeSelector": {"nowhere": "true"}}}}}
    agent = ("daemonset", "unigpu-node-agent", "-n", SYSTEM)
    watched.kube.run("patch", *agent, "--type=merge", "-p", json.dumps(patch))
    try:
        yield
    finally:
        patch["spec"]["template"]["spec"] = {"nodeSelector": None}  # type: ignore[dict-item]
        watched.kube.run("patch", *agent, "--type=merge", "-p", json.dumps(patch))
        watched.kube.run("rollout", "status", *agent, "--timeout=240s", timeout=PATIENCE + 30)


@contextlib.contextmanager
def stopped_exporter(watched: Watched) -> Iterator[None]:
    """The exporter's process stands still."""
    found = [pid for pid in harness.processes(NAME) if runs(pid, "exporter")]
    for pid in found:
        subprocess.run(["kill", "-STOP", str(pid)], check=True)
    assert found
    try:
        yield
    finally:
        for pid in found:
            # The kubelet may have ended it by then, because its probe failed: that is the runbook's remedy too.
            subprocess.run(["kill", "-CONT", str(pid)], check=False, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def skipped_pod(watched: Watched) -> Iterator[None]:
    """A pod that asks for a GPU, admitted while no webhook answered."""
    with no_webhook(watched):
        made = gpu_pod(watched, "skipped", [PROBE, "--stay"], 1024)
        made["spec"]["containers"][0]["resources"] = {"limits": {"aliyun.com/gpu-mem": "1"}}
        watched.kube.apply([made], NAMESPACE)
    try:
        yield
    finally:
        watched.kube.run("delete", "pod", "skipped", "-n", NAMESPACE, "--grace-period=0", "--force", timeout=PATIENCE)


@contextlib.contextmanager
def forged(watched: Watched) -> Iterator[None]:
    """Somebody claims GPUs by annotation."""
    made = gpu_pod(watched, "forger", [PROBE], 1024)
    made["metadata"]["annotations"] = {names.ANNOTATION_ALLOCATION: '{"version":1,"node":"x","containers":{}}'}
    with repeated(lambda: watched.kube.apply([made], NAMESPACE)):
        yield


@contextlib.contextmanager
def malformed(watched: Watched) -> Iterator[None]:
    """Somebody sends what isn't a review."""

    def send() -> None:
        for pod in pods_of(watched, "webhook"):
            post(f"https://{pod['status']['podIP']}:{names.PORT_WEBHOOK}/mutate", b"{")

    with repeated(send):
        yield


@contextlib.contextmanager
def short_certificate(watched: Watched) -> Iterator[None]:
    """The webhook's certificates live for a day."""
    _renew(watched, [*VALUES, "webhook.extraArgs={--certificate-seconds=86400}"])
    # Replicas load a new certificate up to half a minute after it is issued.
    wait_for("a replica serves it", lambda: any(map(_short, pods_of(watched, "webhook"))), PATIENCE)
    try:
        yield
    finally:
        _renew(watched, VALUES)


def _short(pod: Json) -> bool:
    """Whether a replica of the webhook serves a certificate that ends within two days."""
    try:
        text = ssl.get_server_certificate((pod["status"]["podIP"], names.PORT_WEBHOOK), timeout=10)
    except (OSError, LookupError):
        return False
    end = x509.load_pem_x509_certificate(text.encode()).not_valid_after_utc
    return end - datetime.datetime.now(datetime.UTC) < datetime.timedelta(days=2)


def _renew(watched: Watched, values: Sequence[str]) -> None:
    """Install with these values, and let the replicas that have them issue the next certificate."""
    install.install(watched.kube, watched.images, simulated=True, more=values)
    watched.kube.run("delete", "secret", names.SECRET_WEBHOOK_TLS, "-n", SYSTEM)
    secret = ("get", "secret", names.SECRET_WEBHOOK_TLS, "-n", SYSTEM, "--ignore-not-found")
    wait_for("a new certificate is issued", lambda: watched.kube.run(*secret), PATIENCE)


def in_node(module: str, *arguments: str) -> None:
    """Run a module of this project inside the node."""
    command = [sys.executable, "-m", "cluster", "enter", "--name", NAME, "--node", "1", "--"]
    command += ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout


def full(watched: Watched) -> contextlib.AbstractContextManager[None]:
    """A program that allocates beyond its limit, again and again."""
    loop = f"while true; do {PROBE} --step 256 >/dev/null; sleep 1; done"
    return pods(watched, gpu_pod(watched, "full", ["sh", "-c", loop], 1024))


def throttled(watched: Watched) -> contextlib.AbstractContextManager[None]:
    """A program that wants a whole GPU and has a tenth of one."""
    run = "(echo; sleep 100000) | /bench/client load kernel=5000000 ahead=2 seconds=100000"
    made = gpu_pod(watched, "throttled", ["sh", "-c", run], 1024, 10)
    made["spec"]["containers"][0]["volumeMounts"] = [{"name": "bench", "mountPath": "/bench"}]
    made["spec"]["volumes"] = [{"name": "bench", "hostPath": {"path": str(CLIENT)}}]
    return pods(watched, made)


def unreadable(watched: Watched) -> contextlib.AbstractContextManager[None]:
    """A program writes over its usage file."""
    ruin = f"{PROBE} --no-take; head -c 8192 /dev/urandom > {names.CONTAINER_USAGE}; sleep 100000"
    return pods(watched, gpu_pod(watched, "ruin", ["sh", "-c", ruin], 1024))


def breaching(watched: Watched) -> contextlib.AbstractContextManager[None]:
    """A program that loads no libvgpu."""
    return pods(watched, gpu_pod(watched, "cheat", ["sh", "-c", OWN_LOADER], 3200))


def foreign(watched: Watched) -> contextlib.AbstractContextManager[None]:
    """A program without a grant."""
    return pods(watched, stranger("stranger", watched.images["probe"], 4000))


PROVOKED: dict[str, Callable[[Watched], contextlib.AbstractContextManager[None]]] = {
    "UnigpuMemoryAllocationFailures": full,
    "UnigpuContainerThrottled": throttled,
    "UnigpuContainerUnreadable": unreadable,
    "UnigpuContainerBreach": breaching,
    "UnigpuForeignMemory": foreign,
    "UnigpuForgedAnnotations": forged,
    "UnigpuWebhookErrors": malformed,
    "UnigpuGpuUnhealthy": unhealthy,
    "UnigpuDriverDown": silent_driver,
    "UnigpuExporterDown": stopped_exporter,
    "UnigpuPodsSkippedWebhook": skipped_pod,
    "UnigpuWebhookDown": lambda watched: scaled_down(watched, names.SERVICE_WEBHOOK),
    "UnigpuExtenderDown": lambda watched: scaled_down(watched, "unigpu-scheduler"),
    "UnigpuNodeAgentMissing": no_agents,
    "UnigpuCertificateExpiresSoon": short_certificate,
    **SHORT_FORM,
}
"""Each alert that can be provoked in seconds, by what its runbook then ends."""


def test_every_alert_is_provoked(watched: Watched) -> None:
    assert set(watched.limits) == set(PROVOKED) | set(LONG_FORM)


@pytest.mark.parametrize("alert", [*PROVOKED, *(LONG_FORM if LONG else ())])
def test_an_alert_fires_in_time_and_ends_with_its_cause(watched: Watched, alert: str, tell: Tell) -> None:
    with (PROVOKED | LONG_FORM)[alert](watched):
        began = time.monotonic()
        wait_for(
            f"{alert} fires", lambda: alert in watched.firing(), PATIENCE, lambda: str(watched.prometheus.alerts())
        )
        took = time.monotonic() - began
        labels = next(one["labels"] for one in watched.prometheus.alerts() if one["labels"]["alertname"] == alert)
        (node,) = watched.kube.json("get", "nodes")["items"]
        wrong = runbooks.follow(alert, labels, watched.kube, node["metadata"]["name"])
        assert not wrong, "\n\n".join(wrong)
    began = time.monotonic()
    wait_for(f"{alert} ends", lambda: alert not in watched.firing(), PATIENCE, lambda: str(watched.firing()))
    ended = time.monotonic() - began
    tell(f"{alert:32} fired after {took:5.1f} s (in time: {watched.limits[alert]:.0f} s), ended after {ended:5.1f} s")
