"""etcd, API server, kwok, webhook, and pairs of kube-scheduler and extender, as processes of this machine.

What a cluster has and this has not: controllers (nobody needs them for pods that are created one by one), TLS between
API server and etcd, and etcd's waiting for the disk. Both runs of a comparison go without them.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp

from bench.fleet import objects
from bench.fleet.parts import Part, free_ports
from cluster import certificates, kubeconfigs, settings
from unigpu import errors, names, vendor_resources
from unigpu_kube import client
from unigpu_kube import errors as kube_errors
from unigpu_kube.client import Client, Json
from webhook.admission import configuration
from webhook.settings import Settings as WebhookSettings

ADMIN = "admin"
SCHEDULER = "scheduler"
TOKENS = "tokens.csv"
STAGES = settings.ROOT / "cluster" / "kwok" / "stages.yaml"
LEASE = "unigpu-scheduler"
VERSION = "1.36"
"""Of `make cluster`'s kube-scheduler."""


class ControlPlane:
    """The parts, and how to reach them. `running` starts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)
        self.parts: dict[str, Part] = {}
        etcd, self._etcd_peer, self._api, self._webhook, self._webhook_health = free_ports(5)
        self.nodes_percent = 100
        """How much of the nodes the kube-scheduler with the extender looks at, as the chart sets it."""
        self.etcd = f"http://127.0.0.1:{etcd}"
        self.server = f"https://127.0.0.1:{self._api}"
        self.client: Client
        self.session: aiohttp.ClientSession
        self.tls: ssl.SSLContext

    @property
    def certificates(self) -> Path:
        """Folder of the certificates."""
        return self.folder / "certificates"

    def kubeconfig(self, identity: str) -> Path:
        """Return the kubeconfig of an identity."""
        return self.folder / f"{identity}.kubeconfig"

    def prepare(self) -> None:
        """Make certificates and kubeconfigs."""
        certificates.make_all(self.certificates, ("localhost",), ("127.0.0.1",), {})
        for identity in (ADMIN, SCHEDULER):
            kubeconfigs.write(self.kubeconfig(identity), self.certificates, identity, self.server, "fleet")
        # Webhook and extender log in by token, as pods do. Only the extender's account may write allocations.
        tokens = []
        for account in (names.ACCOUNT_SCHEDULER, names.SERVICE_WEBHOOK):
            user, token = f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:{account}", secrets.token_hex(16)
            tokens.append(f'{token},{user},{account},"system:masters"')
            self._write_kubeconfig(account, token)
        (self.folder / TOKENS).write_text("\n".join(tokens))
        self.tls = ssl.create_default_context(cafile=str(self.certificates / "ca.crt"))
        self.tls.load_cert_chain(self.certificates / f"{ADMIN}.crt", self.certificates / f"{ADMIN}.key")

    def _write_kubeconfig(self, account: str, token: str) -> None:
        document = json.loads(self.kubeconfig(ADMIN).read_text())
        document["users"][0]["user"] = {"token": token}
        self.kubeconfig(account).write_text(json.dumps(document))

    def part(self, name: str, *command: str) -> Part:
        """Add a part, or put another in its place; it isn't started yet."""
        found = self.parts[name] = Part(name, command, self.logs)
        return found

    def program(self, name: str, *arguments: str) -> Part:
        """Add a program of `make cluster`."""
        return self.part(name, str(settings.BIN / name), *arguments)

    async def start_api_server(self) -> None:
        """Start etcd and API server, and wait until they answer."""
        etcd, peer = self.etcd, f"http://127.0.0.1:{self._etcd_peer}"
        self.program(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--quota-backend-bytes=8589934592",
            "--log-level=warn",
        ).start()
        keys = self.certificates
        self.program(
            "kube-apiserver",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._api}",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--etcd-servers={etcd}",
            f"--client-ca-file={keys / 'ca.crt'}",
            f"--tls-cert-file={keys / 'apiserver.crt'}",
            f"--tls-private-key-file={keys / 'apiserver.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys / 'service-accounts.key'}",
            f"--service-account-signing-key-file={keys / 'service-accounts.key'}",
            f"--token-auth-file={self.folder / TOKENS}",
            "--authorization-mode=Node,RBAC",
            # Without controllers nobody takes the taint of a new node away.
            "--disable-admission-plugins=TaintNodesByCondition",
            "--profiling=false",
        ).start()
        await self.wait_for_api_server()

    async def wait_for_api_server(self) -> None:
        """Wait until the API server answers."""
        await self.parts["kube-apiserver"].until(lambda: self.answers(f"{self.server}/readyz"), "it answers")

    async def answers(self, url: str) -> bool:
        """Return whether a URL is answered with 200."""
        try:
            async with self.session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as response:
                await response.read()
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def start_kwok(self, lease_seconds: int) -> None:
        """Start what plays the nodes. `lease_seconds`: duration of a node's lease, renewed by a quarter of it."""
        self.program(
            "kwok",
            f"--config={STAGES}",
            f"--kubeconfig={self.kubeconfig(ADMIN)}",
            "--manage-all-nodes=true",
            f"--node-lease-duration-seconds={lease_seconds}",
        ).start()

    async def start_webhook(self) -> None:
        """Start the webhook, with the configurations that the chart has, and wait until reviews go through it."""
        for document in configuration.documents(WebhookSettings()):
            for webhook in document["webhooks"]:
                path = webhook["clientConfig"]["service"]["path"]
                webhook["clientConfig"] = {"url": f"https://localhost:{self._webhook}{path}"}
            kind = f"{document['kind'].lower()}s"
            await self.client.create(f"/apis/{document['apiVersion']}/{kind}", document)
        part = self.part(
            "webhook",
            *(sys.executable, "-m", "webhook", "--host", "localhost", "--kubeconfig"),
            *(
                str(self.kubeconfig(names.SERVICE_WEBHOOK)),
                "--port",
                str(self._webhook),
                "--metrics-port",
                str(self._webhook_health),
                "--log-json",
            ),
            *("--sweep-seconds", "0"),
        )
        part.start()
        await part.until(lambda: self.answers(f"http://127.0.0.1:{self._webhook_health}/readyz"), "it is ready")
        await part.until(self._reviews, "reviews go through it")

    async def _reviews(self) -> bool:
        pod = objects.pod("first", {objects.UNIGPU.resource: 1})
        try:
            made = await self.client.create(f"{_pods()}?dryRun=All", pod)
        except (kube_errors.Rejected, errors.Unavailable):
            return False
        return names.ANNOTATION_REQUEST in made["metadata"].get("annotations", {})

    def replica(
        self,
        name: str = "",
        *,
        lease: Sequence[int] = (),
        verbs: str = "",
        api_server: str = "",
        arguments: Sequence[str] = (),
    ) -> "Replica":
        """Return a pair of kube-scheduler and extender; nothing is started.

        `lease`: duration, deadline and period in seconds of the lease by which one leads; without it, it always leads.
        `verbs` and `api_server`: addresses by which the kube-scheduler reaches the extender, and the extender the API
        server, in place of the usual ones. `arguments`: more for the extender.
        """
        return Replica(self, name, lease, verbs, api_server, arguments)

    async def lease_holder(self) -> str:
        """Return who leads; empty: nobody."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{names.SYSTEM_NAMESPACE}/leases/{LEASE}"
        lease = await self.client.find(path)
        return "" if lease is None else lease["spec"].get("holderIdentity") or ""

    async def bindings(self) -> dict[str, int]:
        """Return how many bindings the API server has answered since its start, by status code."""
        found: dict[str, int] = {}
        for line in (await self.client.text("/metrics")).splitlines():
            if line.startswith("apiserver_request_total{") and 'subresource="binding"' in line:
                code = line.partition('code="')[2].partition('"')[0]
                found[code] = found.get(code, 0) + int(float(line.split()[-1]))
        return found

    def stock_scheduler(self) -> Part:
        """Return a kube-scheduler without unigpu, with as many requests as the chart gives one."""
        return self._scheduler("stock-scheduler", _scheduler_configuration({"schedulerName": "default-scheduler"}))

    def _scheduler(self, name: str, document: Json) -> Part:
        document["clientConnection"]["kubeconfig"] = str(self.kubeconfig(SCHEDULER))
        config = self.folder / f"{name}.json"
        config.write_text(json.dumps(document))
        return self.part(name, str(settings.BIN / "kube-scheduler"), f"--config={config}", "--secure-port=0", "--v=1")

    def freeze(self) -> None:
        """Stop every part where it is, until `thaw`."""
        for part in self.parts.values():
            if part.runs:
                part.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let every part go on."""
        for part in self.parts.values():
            if part.runs:
                part.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End every part."""
        for part in reversed(self.parts.values()):
            part.kill()


class Replica:
    """A kube-scheduler and its extender."""

    def __init__(
        self,
        plane: ControlPlane,
        name: str,
        lease: Sequence[int],
        verbs: str,
        api_server: str,
        arguments: Sequence[str] = (),
    ) -> None:
        self._plane = plane
        self.port, self.metrics_port = free_ports(2)
        config = plane.kubeconfig(names.ACCOUNT_SCHEDULER)
        if api_server:
            known, config = json.loads(config.read_text()), plane.folder / f"extender{name}.kubeconfig"
            known["clusters"][0]["cluster"] = {"server": api_server}
            config.write_text(json.dumps(known))
        self.extender = plane.part(
            f"extender{name}",
            *(sys.executable, "-m", "scheduler", "--kubeconfig", str(config), "--log-json"),
            *("--port", str(self.port), "--metrics-port", str(self.metrics_port)),
            *("--kube-scheduler-version", VERSION, *arguments),
        )
        document = _scheduler_configuration({"schedulerName": names.SCHEDULER_NAME})
        document["percentageOfNodesToScore"] = plane.nodes_percent
        managed = [{"name": names.RESOURCE_VGPU, "ignoredByScheduler": False}]
        managed += [{"name": resource, "ignoredByScheduler": True} for resource in vendor_resources.RESOURCES]
        document["extenders"] = [
            {
                "urlPrefix": verbs or f"http://127.0.0.1:{self.port}",
                **{f"{verb}Verb": verb for verb in ("filter", "prioritize", "preempt", "bind")},
                "weight": 5,
                "nodeCacheCapable": True,
                "ignorable": False,
                "httpTimeout": "10s",
                "managedResources": managed,
            }
        ]
        if lease:
            duration, deadline, period = lease
            document["leaderElection"] = {
                "leaderElect": True,
                "resourceNamespace": names.SYSTEM_NAMESPACE,
                "resourceName": LEASE,
                "leaseDuration": f"{duration}s",
                "renewDeadline": f"{deadline}s",
                "retryPeriod": f"{period}s",
            }
        self.scheduler = plane._scheduler(f"kube-scheduler{name}", document)

    async def start(self) -> None:
        """Start both, and wait until the extender has listed nodes and pods."""
        self.extender.start()
        self.scheduler.start()
        await self.ready()

    async def ready(self) -> None:
        """Wait until the extender has listed nodes and pods."""
        url = f"http://127.0.0.1:{self.metrics_port}/readyz"
        await self.extender.until(lambda: self._plane.answers(url), "it is ready")

    async def page(self) -> str:
        """Return the extender's page of metrics."""
        async with self._plane.session.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as response:
            return await response.text()

    async def metric(self, name: str, label: str = "") -> float:
        """Return the sum of a metric's samples, of those with a label such as `by="share"`."""
        lines = (await self.page()).splitlines()
        samples = [line for line in lines if line.partition("{")[0].partition(" ")[0] == name and label in line]
        return sum(float(line.split()[-1]) for line in samples)


@contextlib.asynccontextmanager
async def running(folder: Path, *, lease_seconds: int = 40) -> AsyncIterator[ControlPlane]:
    """Run a control plane without nodes and without a scheduler, and end all its parts with the block.

    The folder's content is removed first; it holds the logs afterwards.
    """
    shutil.rmtree(folder, ignore_errors=True)
    plane = ControlPlane(folder)
    plane.prepare()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(plane.kill)
        connector = aiohttp.TCPConnector(limit=256, ssl=plane.tls)
        plane.session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        await plane.start_api_server()
        plane.client = await stack.enter_async_context(client.connect(plane.kubeconfig(ADMIN), deadline=30.0))
        await _namespaces(plane.client)
        await plane.start_kwok(lease_seconds)
        yield plane


async def _namespaces(api: Client) -> None:
    for namespace in (names.SYSTEM_NAMESPACE, objects.NAMESPACE):
        about = {"apiVersion": "v1", "metadata": {"name": namespace}}
        await api.create("/api/v1/namespaces", {**about, "kind": "Namespace"})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await api.create(f"/api/v1/namespaces/{objects.NAMESPACE}/serviceaccounts", account)
    await _let_scheduler_lead(api)


def _pods() -> str:
    return f"/api/v1/namespaces/{objects.NAMESPACE}/pods"


async def _let_scheduler_lead(api: Client) -> None:
    """Let kube-schedulers have a lease by which one of them leads, as the chart does."""
    group = "rbac.authorization.k8s.io"
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "update"]}
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": LEASE}, "rules": [rule]}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": LEASE},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": LEASE},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "system:kube-scheduler"}],
    }
    path = f"/apis/{group}/v1/namespaces/{names.SYSTEM_NAMESPACE}"
    await api.create(f"{path}/roles", role)
    await api.create(f"{path}/rolebindings", binding)


def _scheduler_configuration(profile: Json) -> Json:
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"qps": 500, "burst": 1000},
        "profiles": [profile],
    }


def environment() -> dict[str, str]:
    """Return what a reader of figures must know of the machine."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown",
    )
    return {"cpus": str(os.cpu_count()), "model": model, "load": f"{os.getloadavg()[0]:.1f}"}
