"""Record a cluster before any part of it exists, so that a later `up` or `down` finds all of it."""

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
    """Choices made when the cluster was first started."""

    settings: settings.Settings
    subnet: str
    bridge: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int

    @property
    def server(self) -> str:
        """Return the URL of the API server."""
        return f"https://{network.gateway(self.network)}:{self.api_port}"

    @property
    def network(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(self.subnet)

    @property
    def nodes(self) -> dict[str, int]:
        """Return the index of each node by its name; indexes start at 1."""
        return {f"{self.settings.name}-{index}": index for index in range(1, self.settings.nodes + 1)}


def choose(wanted: settings.Settings) -> State:
    """Choose a free subnet and free ports."""
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


def _free_ports(*preferred: int) -> list[int]:
    """Return one unused port for each preferred one: that port, or the next free one above it.

    All are below the range from which the kernel takes ports for outgoing connections.
    """
    found: list[int] = []
    for port in preferred:
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
    """Record the state atomically."""
    layout.home.mkdir(parents=True, exist_ok=True)
    units.write_whole(layout.state, json.dumps(dataclasses.asdict(state), indent=1))


def load(layout: settings.Layout) -> State | None:
    """Return the recorded state, or None if there is no such cluster."""
    try:
        data = json.loads(layout.state.read_text())
    except FileNotFoundError:
        return None
    return State(**{**data, "settings": settings.Settings(**data["settings"])})


@contextlib.contextmanager
def locked(layout: settings.Layout) -> Iterator[int]:
    """Hold the cluster's lock, so that only one `up` or `down` runs at a time. Yields its descriptor.

    A starting unit inherits the descriptor until it has recorded itself, so that nothing can happen in between. So does
    every command that writes to the cluster's folder or network (`commands.run`): if this process is killed, the
    command goes on without it, and the lock stays held until it has ended.
    """
    layout.lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.set_inheritable(descriptor, True)
        yield descriptor
    finally:
        os.close(descriptor)
