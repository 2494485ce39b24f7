"""What `helm test` and `helm uninstall` run in a pod: check an installation, and clean up after one.

    python jobs.py check --namespace default
    python jobs.py cleanup --agents '/api/v1/namespaces/…/pods?labelSelector=…' --delete /api/v1/… --delete …

Standard library only: it comes with the chart, and runs in an image of another version. The exit status is 0, or 1 with
one sentence for each problem.
"""

import argparse
import datetime
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
INVENTORY = "unigpu.dev/inventory"
PUBLISHED = "unigpu.dev/published-resources"
"""Vendors' resources whose capacity the agent wrote too."""
WALLS = "unigpu.dev/walls"
LOWERABLE = "unigpu.dev/lowerable"
REQUEST = "unigpu.dev/request"
ALLOCATION = "unigpu.dev/allocation"
SLOTS = "unigpu.dev/vgpu"
MEMORY = "unigpu.dev/memory"
WRITTEN_BY_AGENTS = (MEMORY, "unigpu.dev/cores")
"""Capacities in a node's status; the kubelet itself owns SLOTS."""
SCHEDULER = "unigpu-scheduler"
PAGE = 500
"""Objects in one answer."""
REMOVED = "UnigpuRemoved"

Json = dict[str, Any]


class Problem(Exception):
    """The API server refused a request, or didn't answer. `code` is 0 where it didn't."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class ApiServer:
    """The API server, as a pod's service account reaches it."""

    def __init__(self, address: str, token: Path, authority: Path) -> None:
        self._address, self._token = address, token
        self._context = ssl.create_default_context(cafile=str(authority)) if address.startswith("https:") else None

    def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """Return the answer. Raises Problem."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(
            self._address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token.read_text().strip()}", "Content-Type": kind},
        )
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:
                document: Json = json.load(answer)
                return document
        except urllib.error.HTTPError as error:
            raise Problem(error.code, _message(error.read())) from error
        except OSError as error:
            raise Problem(0, f"the API server doesn't answer: {error}") from error

    def every(self, kind: str) -> Iterator[Json]:
        """Yield every object of `nodes` or `pods`, page by page. Raises Problem."""
        rest = ""
        while True:
            answer = self.call("GET", f"/api/v1/{kind}?limit={PAGE}&continue={urllib.parse.quote(rest)}")
            yield from answer["items"]
            rest = answer["metadata"].get("continue", "")
            if not rest:
                return


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:500]


def check(api: ApiServer, namespace: str) -> Iterator[str]:
    """Yield what is wrong with the installation; print what is well. Raises Problem."""
    nodes = [node for node in api.every("nodes") if INVENTORY in node["metadata"].get("annotations", {})]
    if not nodes:
        yield f"no node has the annotation {INVENTORY}: no node agent has found GPUs; see its log"
    for node in nodes:
        name, slots = node["metadata"]["name"], node["status"].get("allocatable", {}).get(SLOTS, "0")
        if int(slots) > 0:
            print(f"node {name}: GPUs for up to {slots} shares")
        else:
            yield f"node {name}: allocatable {SLOTS} = {slots}: its device plugin isn't registered with the kubelet"
    for what, limits in (
        ("a pod in the unified form", {SLOTS: "1", MEMORY: "1024"}),
        ("a pod of a vendor's", {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "1024"}),
    ):
        problem = _translated(_try(api, namespace, _pod(limits)))
        if problem is None:
            print(f"{what}: translated")
        else:
            yield f"{what}: {problem}"
    forged = _try(api, namespace, _pod({}, {ALLOCATION: "{}"}))
    if isinstance(forged, Problem):
        yield f"a pod with a forged annotation {ALLOCATION}: the API server refuses it: {forged}"
    elif ALLOCATION in (forged["metadata"].get("annotations") or {}):
        yield f"a pod with a forged annotation {ALLOCATION}: the webhook doesn't drop it: the pod would claim a GPU"
    else:
        print("a pod with a forged annotation: the annotation is dropped")


def _pod(limits: dict[str, str], annotations: dict[str, str] | None = None) -> Json:
    container = {"name": "main", "image": "unigpu-test", "resources": {"limits": limits}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "unigpu-test-", "annotations": annotations or {}},
        "spec": {"containers": [container]},
    }


def _try(api: ApiServer, namespace: str, pod: Json) -> Json | Problem:
    """Return the pod as the API server would create it, or why it wouldn't."""
    try:
        return api.call("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
    except Problem as problem:
        return problem


def _translated(pod: Json | Problem) -> str | None:
    """Return why the pod isn't one that unigpu's scheduler places; None: it is."""
    if isinstance(pod, Problem):
        return f"the API server refuses it: {pod}"
    limits = pod["spec"]["containers"][0]["resources"]["limits"]
    scheduler = pod["spec"].get("schedulerName")
    if REQUEST not in pod["metadata"].get("annotations", {}) or limits.get(SLOTS) != "1":
        return "the webhook doesn't translate it: does it see this namespace?"
    if limits.get(MEMORY) not in ("1024", "1Ki"):
        return f"{MEMORY} = {limits.get(MEMORY)}: not 1024"
    return None if scheduler == SCHEDULER else f"spec.schedulerName = {scheduler}: not {SCHEDULER}"


def cleanup(api: ApiServer, agents: str, paths: Sequence[str], patience: float, pause: float = 1.0) -> Iterator[str]:
    """Remove what unigpu wrote at run time; yield what couldn't be removed. Raises Problem.

    Waits `patience` seconds at most for the node agents to end, because each would write its node again.
    """
    deadline = time.monotonic() + patience
    while left := api.call("GET", agents)["items"]:
        if time.monotonic() > deadline:
            names = ", ".join(pod["metadata"]["name"] for pod in left)
            print(f"these node agents haven't ended, and may write their nodes again: {names}")
            break
        time.sleep(pause)
    for node in api.every("nodes"):
        name = node["metadata"]["name"]
        try:
            if _clean(api, node):
                print(f"node {name}: cleaned")
        except Problem as problem:
            if problem.code != 404:  # the node went away
                yield f"node {name}: {problem}"
    yield from _tell(api)
    for path in paths:
        try:
            api.call("DELETE", path)
            print(f"deleted {path}")
        except Problem as problem:
            if problem.code != 404:
                yield f"{path}: {problem}"


def _tell(api: ApiServer) -> Iterator[str]:
    """Emit an event on each pod that goes on with a GPU; yield why that isn't possible."""
    told = 0
    for pod in api.every("pods"):
        about = pod["metadata"]
        running = pod.get("status", {}).get("phase") == "Running"
        if not running or ALLOCATION not in about.get("annotations", {}):
            continue
        try:
            api.call("POST", f"/api/v1/namespaces/{about['namespace']}/events", _event(about))
            told += 1
        except Problem as problem:
            if problem.code != 404:  # the namespace went away
                yield f"pod {about['namespace']}/{about['name']}: {problem}"
    if told:
        print(f"told by an event: {told} running {'pod' if told == 1 else 'pods'} with GPUs")


def _event(about: Json) -> Json:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    reference = {"apiVersion": "v1", "kind": "Pod"}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{about['name'][:200]}.", "namespace": about["namespace"]},
        "involvedObject": {**reference, **{key: about[key] for key in ("name", "namespace", "uid")}},
        "type": "Warning",
        "reason": REMOVED,
        "message": "unigpu was removed from the cluster. This pod keeps its GPUs and its limits, which nobody can"
        " change or lift now. Other pods may get the same GPUs: delete this pod when you can.",
        "source": {"component": "unigpu"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def _clean(api: ApiServer, node: Json) -> bool:
    """Remove the agent's annotations and capacities from a node; return whether there were any."""
    path = f"/api/v1/nodes/{node['metadata']['name']}"
    annotations = node["metadata"].get("annotations", {})
    written = (*WRITTEN_BY_AGENTS, *annotations.get(PUBLISHED, "").split(","))
    capacities = {name: None for name in written if name in node.get("status", {}).get("capacity", {})}
    if capacities:
        api.call("PATCH", f"{path}/status", {"status": {"capacity": capacities}})
    stale = {name: None for name in (INVENTORY, PUBLISHED, WALLS, LOWERABLE) if name in annotations}
    if stale:
        api.call("PATCH", path, {"metadata": {"annotations": stale}})
    return bool(stale or capacities)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the two. Returns the exit status."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    parser = argparse.ArgumentParser(description="Check an installation of unigpu, or clean up after one.")
    parser.add_argument("--server", default=f"https://{f'[{host}]' if ':' in host else host}:{port}", help="API server")
    parser.add_argument("--token", type=Path, default=ACCOUNT / "token", help="file with the account's token")
    parser.add_argument("--authority", type=Path, default=ACCOUNT / "ca.crt", help="file with the server's CA")
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="check GPU nodes and the webhook")
    checking.add_argument("--namespace", required=True, help="namespace in which pods are tried out")
    cleaning = commands.add_parser("cleanup", help="remove what unigpu wrote at run time")
    cleaning.add_argument("--agents", required=True, help="path that lists the node agents' pods")
    cleaning.add_argument("--delete", action="append", default=[], help="path of an object; may be repeated")
    cleaning.add_argument("--patience", type=float, default=60, help="seconds to wait for the node agents to end")
    given = parser.parse_args(arguments)
    api = ApiServer(given.server, given.token, given.authority)
    try:
        if given.command == "check":
            problems = list(check(api, given.namespace))
        else:
            problems = list(cleanup(api, given.agents, given.delete, given.patience))
    except Problem as error:
        problems = [str(error)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
