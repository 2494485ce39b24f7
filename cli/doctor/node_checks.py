"""Checks of the nodes: agents, inventories, capacity, GPUs, other device plugins. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from cli import gpu_fields, version
from cli.doctor.check import Finding, Unread, fail, ok, unread, warn
from cli.doctor.evidence import Evidence, Json, some
from cli.status import render
from unigpu import errors, gpus, names, quantities, vendor_resources, walls
from unigpu.gpus import Gpu
from unigpu.units import FULL
from unigpu.walls import Wall

LABEL_GPU = "nvidia.com/gpu.present"
"""Set by NVIDIA's GPU feature discovery on nodes with GPUs."""
PLUGINS = gpu_fields.VENDORS | {"nvidia.com/gpu.shared"}
"""Resources that other device plugins advertise for the same GPUs."""


def checks(found: Evidence) -> Iterator[Finding]:
    """Yield the findings."""
    nodes = found.nodes
    if isinstance(nodes, Unread):
        yield unread("nodes", nodes)
        return
    inventories = {_name(node): _inventory(node) for node in nodes}
    agents = None if isinstance(found.parts, Unread) else _agents(found.parts)
    yield from _agent(found, nodes, inventories, agents)
    yield from _inventories(nodes, inventories, agents)
    yield from _capacity(nodes, inventories)
    yield from _health(inventories)
    yield from _walls(nodes)
    yield from _others(nodes, inventories)


def _name(node: Json) -> str:
    return str((node.get("metadata") or {}).get("name"))


def _annotations(node: Json) -> Mapping[str, str]:
    found: Mapping[str, str] = (node.get("metadata") or {}).get("annotations") or {}
    return found


def _inventory(node: Json) -> tuple[Gpu, ...] | str | None:
    """Return the GPUs; None without the annotation; why it can't be read."""
    text = ((node.get("metadata") or {}).get("annotations") or {}).get(names.ANNOTATION_INVENTORY)
    try:
        return None if text is None else gpus.load(text)
    except errors.Malformed as error:
        return str(error)


def _agents(parts: Sequence[Json]) -> dict[str, bool]:
    """Return for each node with an agent whether the agent is ready."""
    found: dict[str, bool] = {}
    for pod in parts:
        if ((pod.get("metadata") or {}).get("labels") or {}).get(names.LABEL_COMPONENT) == "node-agent":
            node = (pod.get("spec") or {}).get("nodeName")
            if node:
                found[node] = found.get(node, False) or version.ready(pod)
    return found


def _capacity_of(node: Json, resource: str, part: str = "capacity") -> int:
    text = str(((node.get("status") or {}).get(part) or {}).get(resource) or "0")
    try:
        return quantities.count(text)
    except ValueError:
        return 0


def _agent(
    found: Evidence,
    nodes: Sequence[Json],
    inventories: Mapping[str, tuple[Gpu, ...] | str | None],
    agents: Mapping[str, bool] | None,
) -> Iterator[Finding]:
    check = "node agents"
    if agents is None:
        yield unread(check, found.parts if isinstance(found.parts, Unread) else Unread(""))
        return
    marked = {
        _name(node) for node in nodes if ((node.get("metadata") or {}).get("labels") or {}).get(LABEL_GPU) == "true"
    }
    wanted = {name for name, known in inventories.items() if known is not None} | marked | set(agents)
    if not wanted:
        yield fail(
            check,
            "no node has a node agent or an inventory of GPUs",
            "check nodeAgent.nodeSelector and tolerations in the chart's values",
        )
        return
    missing = sorted(wanted - set(agents))
    unready = sorted(name for name, ready in agents.items() if not ready)
    if missing:
        yield fail(
            check,
            f"{len(missing)} of {len(wanted)} GPU nodes have none: {some(missing)}",
            "check nodeAgent.nodeSelector and tolerations in the chart's values, and the DaemonSet's events",
        )
    if unready:
        yield fail(
            check,
            f"not ready on {some(unready)}",
            f"`kubectl -n {found.namespace} logs -l {names.LABEL_COMPONENT}=node-agent -c deviceplugin` says why",
        )
    if not missing and not unready:
        yield ok(check, f"ready on all {len(wanted)} GPU nodes")


def _inventories(
    nodes: Sequence[Json],
    inventories: Mapping[str, tuple[Gpu, ...] | str | None],
    agents: Mapping[str, bool] | None,
) -> Iterator[Finding]:
    check = "inventory"
    broken = [f"{name}: {known}" for name, known in inventories.items() if isinstance(known, str)]
    if broken:
        yield fail(
            check, some(broken), f"remove annotation {names.ANNOTATION_INVENTORY}: the node agent writes it again"
        )
    absent = sorted(name for name in agents or {} if inventories.get(name) is None)
    if absent:
        yield fail(
            check,
            f"the node agent has published no GPUs on {some(absent)}",
            "its log says what it finds: a missing driver, or no rights to patch the node",
        )
    stale = sorted(
        name for name, known in inventories.items() if known is not None and agents is not None and not agents.get(name)
    )
    if stale:
        yield warn(
            check,
            f"nobody keeps the inventory current on {some(stale)}: the scheduler goes on placing pods there",
            "bring the node agent back, or remove the annotation "
            f"{names.ANNOTATION_INVENTORY} of a node that has left unigpu",
        )
    if not broken and not absent and not stale:
        count = sum(len(known) for known in inventories.values() if known is not None)
        yield ok(
            check, f"{count} GPUs on {sum(known is not None for known in inventories.values())} nodes, kept current"
        )


def _capacity(nodes: Sequence[Json], inventories: Mapping[str, tuple[Gpu, ...] | str | None]) -> Iterator[Finding]:
    check = "capacity"
    wrong, offered = [], 0
    for node in nodes:
        name, known = _name(node), inventories[_name(node)]
        if not isinstance(known, tuple):
            continue
        healthy = [gpu for gpu in known if gpu.healthy]
        wanted = {names.RESOURCE_MEMORY: sum(gpu.memory for gpu in healthy), names.RESOURCE_CORES: FULL * len(healthy)}
        for resource, amount in wanted.items():
            there = _capacity_of(node, resource)
            if there != amount:
                wrong.append(f"{name} has {resource} = {there}, its GPUs {amount}")
        if known and not _capacity_of(node, names.RESOURCE_VGPU):
            wrong.append(f"{name} offers no {names.RESOURCE_VGPU}: the kubelet doesn't know the device plugin")
        offered += _capacity_of(node, names.RESOURCE_VGPU, "allocatable")
    if wrong:
        yield fail(
            check,
            f"{len(wrong)} differences from the inventory: {some(wrong)}",
            "the node agent corrects it within seconds; if it doesn't, see its log and whether another program patches "
            "the node's status",
        )
    else:
        yield ok(check, f"nodes offer what their inventories say, {offered} slots in all")


def _health(inventories: Mapping[str, tuple[Gpu, ...] | str | None]) -> Iterator[Finding]:
    check = "GPUs"
    sick = [
        f"GPU {gpu.index} of {name} ({render.fault(gpu)})"
        for name, known in inventories.items()
        if isinstance(known, tuple)
        for gpu in known
        if not gpu.healthy
    ]
    if sick:
        yield fail(check, f"unhealthy: {some(sick)}", "see docs/runbooks/UnigpuGpuUnhealthy.md")
    else:
        yield ok(check, "all are healthy")


def _walls(nodes: Sequence[Json]) -> Iterator[Finding]:
    """Say what holds containers to their memory. Most drivers have no limits of their own, so that is no fault."""
    check = "walls"
    standing: dict[Wall, int] = dict.fromkeys(Wall, 0)
    lacking: dict[tuple[Wall, str], list[str]] = {}
    broken, known = [], 0
    for node in nodes:
        text = ((node.get("metadata") or {}).get("annotations") or {}).get(names.ANNOTATION_WALLS)
        if text is None:
            continue
        try:
            found = walls.load(text)
        except errors.Malformed as error:
            broken.append(f"{_name(node)}: {error}")
            continue
        known += 1
        for wall in found.standing:
            standing[wall] += 1
        for wall, reason in found.missing.items():
            lacking.setdefault((wall, reason), []).append(_name(node))
    if broken:
        yield warn(check, some(broken), f"remove annotation {names.ANNOTATION_WALLS}: the node agent writes it again")
    blind = [(reason, which) for (wall, reason), which in lacking.items() if wall is not Wall.DRIVER]
    for reason, which in blind:
        yield warn(check, f"on {some(which)}: {reason}", "install the chart as it is: it gives the node agent hostPID")
    if known:
        counts = ", ".join(f"{wall} on {number} of {known} nodes" for wall, number in standing.items())
        why = "; ".join(f"{some(which)}: {reason}" for (wall, reason), which in lacking.items() if wall is Wall.DRIVER)
        yield ok(check, f"{counts}{f' ({why})' if why else ''}")


def _others(nodes: Sequence[Json], inventories: Mapping[str, tuple[Gpu, ...] | str | None]) -> Iterator[Finding]:
    check = "other plugins"
    twice = [
        f"{_name(node)} ({resource} = {amount})"
        for node in nodes
        if inventories[_name(node)]
        for resource in sorted(vendor_resources.offered(node.get("status") or {}, _annotations(node)))
        if resource in PLUGINS and (amount := _capacity_of(node, resource))
    ]
    if twice:
        yield fail(
            check,
            f"another device plugin offers the same GPUs on {some(twice)}: its pods and unigpu's can get the same GPU, "
            "and unigpu places no pod there that names such a resource",
            "remove that plugin from these nodes, or keep unigpu off them by nodeAgent.nodeSelector",
        )
    else:
        yield ok(check, "no other device plugin offers the GPUs of unigpu's nodes")
