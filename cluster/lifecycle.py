"""Start a cluster and take it down.

Each step first checks whether its result exists. So `up` also repairs a cluster after an interrupted `up` or after a
part has died, and changes nothing when everything runs.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import pathlib
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from cluster import (
    certificates,
    cgroups,
    control_plane,
    doctor,
    errors,
    images,
    kubeconfigs,
    network,
    nodes,
    processes,
    progress,
    settings,
    simulated,
    state,
    store,
    units,
)

API_PATIENCE = 60.0
"""Seconds until etcd and the API server must answer."""
NODE_PATIENCE = 90.0
"""Seconds until a node must be Ready."""


def up(wanted: settings.Settings) -> None:
    """Bring the cluster up, or repair it.

    Raises PreflightError before anything is changed; Mismatch when it runs with other settings; StepFailed when a part
    does not come up.
    """
    wanted.check()
    layout = settings.Layout(wanted.name)
    with state.locked(layout) as lock:
        known = state.load(layout)
        if known is None:
            doctor.require(wanted)
            known = _begin(layout, wanted)
        elif known.settings != wanted:
            raise errors.Mismatch(
                f"The cluster {wanted.name} is running with different settings ({_words(known.settings)}): use the"
                f" same ones, or stop it first with `make down NAME={wanted.name}`."
            )
        _prepare(layout, known)
        store.fill(images.essential())
        started = _start(layout, lock, control_plane.UNIT, lambda: control_plane.describe(layout, known))
        if started or not _ready(layout, known):
            with progress.step("etcd and API server"):
                progress.wait_for(
                    lambda: _ready(layout, known),
                    API_PATIENCE,
                    lambda: _stuck("The API server doesn't answer", layout),
                )
        since: dict[str, str] = {}
        for node in known.nodes:
            if known.settings.gpus:
                simulated.create(layout, known, node)
            now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            if _start(layout, lock, node, lambda node=node: nodes.describe(layout, known, node)):  # type: ignore[misc]
                since[node] = now
        for node in known.nodes:
            images.load(layout, node, images.essential())  # images that are newer than the node
        if not _nodes_ready(layout, known, since):
            with progress.step(f"{len(known.nodes)} node{'s' if len(known.nodes) > 1 else ''} ready"):
                progress.wait_for(
                    lambda: _nodes_ready(layout, known, since),
                    NODE_PATIENCE,
                    lambda: _stuck("A node is not ready", layout),
                )
        if layout.published_kubeconfig != layout.kubeconfig:
            units.write_whole(layout.published_kubeconfig, layout.kubeconfig.read_text(), mode=0o600)


def _begin(layout: settings.Layout, wanted: settings.Settings) -> state.State:
    """Choose subnet and ports, one cluster at a time, and record them before they are used."""
    with _choosing():
        known = state.choose(wanted)
        state.save(layout, known)
        network.span(known.bridge, known.network, wanted.nodes)
    return known


@contextmanager
def _choosing() -> Iterator[None]:
    """Prevent two clusters of this checkout from choosing the same subnet."""
    with (settings.BUILD / "cluster" / ".choice.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _prepare(layout: settings.Layout, known: state.State) -> None:
    """Create what the units need before they start: bridge, certificates, kubeconfig."""
    network.span(known.bridge, known.network, known.settings.nodes)
    certificates.make_all(
        layout.certificates,
        api_names=(
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ),
        api_addresses=(network.gateway(known.network), network.first_service(known.network), "127.0.0.1"),
        nodes={node: network.node_address(known.network, index) for node, index in known.nodes.items()},
    )
    kubeconfigs.write(layout.kubeconfig, layout.certificates, "admin", known.server, known.settings.name)


def _start(layout: settings.Layout, lock: int, name: str, describe: Callable[[], units.Unit]) -> bool:
    """Start a unit unless it is running; return whether it was started."""
    record = layout.units / f"{name}.process"
    if units.recorded(record) is not None:
        return False
    file = layout.units / f"{name}.json"
    units.save(describe(), file)
    log = layout.logs / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cluster.monitor", str(file), str(record), str(lock)],
            cwd=settings.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(lock,),
        )
    progress.wait_for(
        lambda: units.recorded(record) is not None or process.poll() is not None,
        10.0,
        lambda: f"The unit {name} doesn't start; its log is {log}.",
    )
    if process.poll() is not None:
        raise errors.StepFailed(f"The unit {name} exited immediately; its log is {log}.")
    return True


def _ready(layout: settings.Layout, known: state.State) -> bool:
    return _get(layout, known, "/readyz") is not None


def _nodes_ready(layout: settings.Layout, known: state.State, since: Mapping[str, str]) -> bool:
    """Return whether every node is Ready, and reported so after its start in `since` (RFC 3339, by node).

    A new cluster accepts pods only after the controller manager has created their service account.
    """
    answer = _get(layout, known, "/api/v1/nodes")
    if answer is None or _get(layout, known, "/api/v1/namespaces/default/serviceaccounts/default") is None:
        return False
    ready = {
        entry["metadata"]["name"]
        for entry in json.loads(answer)["items"]
        for condition in entry["status"].get("conditions", [])
        if condition["type"] == "Ready"
        and condition["status"] == "True"
        # Both have the same format, so comparing the text compares the time.
        and condition["lastHeartbeatTime"] >= since.get(entry["metadata"]["name"], "")
    }
    return ready >= set(known.nodes)


def _get(layout: settings.Layout, known: state.State, path: str) -> bytes | None:
    """Return the API server's answer to its administrator, or None if there is none."""
    context = ssl.create_default_context(cafile=str(layout.certificates / "ca.crt"))
    context.load_cert_chain(layout.certificates / "admin.crt", layout.certificates / "admin.key")
    try:
        with urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        ).open(known.server + path, timeout=5) as response:
            content: bytes = response.read()
            return content
    except (urllib.error.URLError, OSError):
        return None


def _stuck(what: str, layout: settings.Layout) -> str:
    return f"{what}; the logs are in {layout.logs}."


def _words(known: settings.Settings) -> str:
    version = f" --kubernetes {known.kubernetes}" if known.kubernetes else ""
    return f"--nodes {known.nodes} --gpus {known.gpus} --profile {known.profile}{version}"


def down(name: str) -> bool:
    """Stop the cluster and remove every trace of it; return whether there was one.

    Raises StepFailed when something can't be removed; a second `down` resumes from there.
    """
    layout = settings.Layout(name)
    with state.locked(layout):
        # If a user deleted the folder, everything else is still there, and its mark identifies it.
        if not (layout.home.exists() or cgroups.exists(layout) or network.exists(network.bridge_name(layout))):
            return False
        with progress.step(f"stopping cluster {name}"):
            for record in sorted(layout.units.glob("*.process")):
                process = units.recorded(record)
                if process is not None:
                    processes.end(process)
            cgroups.remove(layout)
            network.remove(network.bridge_name(layout))
            if layout.published_kubeconfig != layout.kubeconfig:
                layout.published_kubeconfig.unlink(missing_ok=True)
            # Remove the state last: if this process is killed here, the next `down` still knows what to remove.
            if layout.home.exists():
                for entry in layout.home.iterdir():
                    if entry != layout.state:
                        _remove(entry)
                shutil.rmtree(layout.home)
    return True


def _remove(entry: pathlib.Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
