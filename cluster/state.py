"""What is recorded of a cluster before anything of it exists, so that a later `up` or `down` finds all of it."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import ipaddress
import json
import os
import socket
from collections.abc import Iterator

from cluster import network, settings, units


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """Choices that were made when the cluster was first brought up."""

    settings: settings.Settings
    subnet: str
    bridge: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://{network.gateway(self.network)}:{self.api_port}"

    @property
    def network(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(self.subnet)

    @property
    def nodes(self) -> dict[str, int]:
        """Name and index of each node; indexes begin at 1."""
        return {f"{self.settings.name}-{index}": index for index in range(1, self.settings.nodes + 1)}


def choose(wanted: settings.Settings) -> State:
    """Finds a free subnet and free ports."""
    subnet = network.choose_subnet(network.taken_subnets())
    api, etcd, peer = _free_ports(6443, 23790, 23800)
    return State(
        settings=wanted,
        subnet=str(subnet),
        bridge=network.bridge_name(settings.Layout(wanted.name)),
        api_port=api,
        etcd_port=etcd,
        etcd_peer_port=peer,
    )


def _free_ports(*wished: int) -> list[int]:
    """Ports that nobody listens on: each the wished one, or the next free one above it.

    All are below the range from which the kernel takes ports for outgoing connections.
    """
    found: list[int] = []
    for port in wished:
        while not _is_free(port) or port in found:
            port += 1
        found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def save(layout: settings.Layout, state: State) -> None:
    """Records the state, whole or not at all."""
    layout.home.mkdir(parents=True, exist_ok=True)
    units.write_whole(layout.state, json.dumps(dataclasses.asdict(state), indent=1))


def load(layout: settings.Layout) -> State | None:
    """The recorded state, None if there is no such cluster."""
    try:
        data = json.loads(layout.state.read_text())
    except FileNotFoundError:
        return None
    return State(**{**data, "settings": settings.Settings(**data["settings"])})


@contextlib.contextmanager
def locked(layout: settings.Layout) -> Iterator[int]:
    """Holds the cluster's lock: one `up` or `down` at a time. Yields its descriptor.

    A unit that is being started inherits the descriptor until it has recorded itself, so nobody comes in between.
    """
    layout.lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
