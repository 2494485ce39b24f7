"""The cluster's network: a bridge on the host, a veth pair for each node, and routes to the pods.

All of it is in one /16, here N.M.0.0/16:

    N.M.0.0/24      the bridge: .1 is the host and the API server, .2 and up are the nodes
    N.M.1.0/24 ...  the pods of the first node, of the second, ...
    N.M.128.0/20    Services

The host forwards nothing and its packet filters stay unchanged: pods of different nodes communicate over the bridge.
"""

from __future__ import annotations

import ipaddress
import json
import pathlib
from collections.abc import Iterable

from cluster import commands, errors, settings, units

CANDIDATES = tuple(ipaddress.IPv4Network(f"10.{number}.0.0/16") for number in (*range(201, 250), *range(101, 200)))
"""Subnets to choose from: the first that overlaps no address and no route of the host is used."""


def choose_subnet(taken: Iterable[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """Return the first candidate that overlaps nothing. Raises PreflightError if there is none."""
    used = list(taken)
    for candidate in CANDIDATES:
        if not any(candidate.overlaps(other) for other in used):
            return candidate
    raise errors.PreflightError(
        "No /16 subnet of 10.0.0.0/8 is free: each one overlaps a route of this machine. Remove an unused route."
    )


def taken_subnets() -> list[ipaddress.IPv4Network]:
    """Return the subnets of the host's addresses and routes, without default routes."""
    found = []
    for route in _ip_json("-4", "route", "show", "table", "all"):
        destination = str(route["dst"])
        if destination != "default":
            found.append(ipaddress.ip_network(destination, strict=False))
    return [network for network in found if isinstance(network, ipaddress.IPv4Network) and network.prefixlen > 0]


def bridge_name(layout: settings.Layout) -> str:
    """Return the name of the bridge; a device name has at most 15 characters."""
    return f"ug-{layout.mark}"


def cable_name(bridge: str, index: int) -> str:
    """Return the name of the host's end of a node's veth pair."""
    return f"{bridge}-{index}"


def exists(device: str) -> bool:
    """Return whether the host has a network device of that name."""
    return (pathlib.Path("/sys/class/net") / device).exists()


def gateway(subnet: ipaddress.IPv4Network) -> str:
    """Return the host's address, which is also the API server's."""
    return str(subnet[1])


def node_address(subnet: ipaddress.IPv4Network, index: int) -> str:
    """Return the address of a node; the first has index 1."""
    return str(subnet[1 + index])


def pod_subnet(subnet: ipaddress.IPv4Network, index: int) -> str:
    """Return the subnet of a node's pods."""
    return str(list(subnet.subnets(new_prefix=24))[index])


def service_subnet(subnet: ipaddress.IPv4Network) -> str:
    """Addresses of Services."""
    return f"{subnet[128 * 256]}/20"


def first_service(subnet: ipaddress.IPv4Network) -> str:
    """Address of the Service `kubernetes`."""
    return str(subnet[128 * 256 + 1])


def span(bridge: str, subnet: ipaddress.IPv4Network, nodes: int) -> None:
    """Create the bridge with its address, and a route to the pods of each node, unless they exist."""
    if not exists(bridge):
        _ip("link", "add", bridge, "type", "bridge")
    _ip("address", "replace", f"{gateway(subnet)}/24", "dev", bridge)
    _ip("link", "set", bridge, "up")
    for index in range(1, nodes + 1):
        _ip("route", "replace", pod_subnet(subnet, index), "via", node_address(subnet, index), "dev", bridge)


def remove(bridge: str) -> None:
    """Remove the bridge with its address, its routes, and the veth pairs that are still attached."""
    for link in _ip_json("link", "show"):
        name = str(link["ifname"])
        if name == bridge or name.startswith(f"{bridge}-"):
            commands.run(["ip", "link", "delete", name])


def plug(cable: units.Network, pid: int) -> None:
    """Create a veth pair from the bridge into the network namespace of a process."""
    if exists(cable.host_end):
        _ip("link", "delete", cable.host_end)
    _ip("link", "add", cable.host_end, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    _ip("link", "set", cable.host_end, "master", cable.bridge, "up")


def unplug(cable: units.Network) -> None:
    """Remove the host's end of a veth pair. Raises StepFailed if it is already gone."""
    _ip("link", "delete", cable.host_end)


def settle(cable: units.Network) -> None:
    """Configure the network inside a node: address, routes, and forwarding to its pods."""
    _ip("link", "set", "lo", "up")
    _ip("address", "add", cable.address, "dev", "eth0")
    _ip("link", "set", "eth0", "up")
    _ip("route", "add", "default", "via", cable.gateway)
    for subnet, via in cable.routes:
        _ip("route", "add", subnet, "via", via)
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _ip(*arguments: str) -> str:
    done = commands.run(["ip", *arguments])
    if done.returncode != 0:
        raise errors.StepFailed(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout


def _ip_json(*arguments: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(_ip("-json", *arguments) or "[]")
    return found
