"""Units, and the files that describe them.

A unit is a process tree under one supervisor. `UNIT.json` describes what to run, `UNIT.process` which process to end.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib

from cluster import processes


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """One program that the supervisor keeps running."""

    name: str
    arguments: tuple[str, ...]
    """Its command line, beginning with the absolute path."""
    needs: str = ""
    """Path that must exist before it is started (such as its peer's socket), or empty."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mount:
    """One mount inside a node. Mounts are created in the order in which they are listed."""

    target: str
    source: str = ""
    """Host path to bind; empty for a tmpfs."""
    read_only: bool = False
    overlay: str = ""
    """Folder laid over the target, to add mount points that don't exist on the host."""


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """Network of a node: one veth pair to the cluster's bridge."""

    bridge: str
    host_end: str
    """Name of the pair's end on the host."""
    address: str
    """The node's address with its prefix length."""
    gateway: str
    """The bridge's address."""
    routes: tuple[tuple[str, str], ...]
    """Pod subnet and address of each other node."""


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """One process tree."""

    name: str
    programs: tuple[Program, ...]
    logs: str
    """Folder with one log per program."""
    cgroups: tuple[str, ...]
    """Folders of the control groups of all its processes."""
    path: str
    """PATH of its programs."""
    network: Network | None = None
    """Only for nodes, which have their own mount, network and UTS namespaces."""
    mounts: tuple[Mount, ...] = ()


def save(unit: Unit, file: pathlib.Path) -> None:
    """Write the description atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(dataclasses.asdict(unit), indent=1))


def load(file: pathlib.Path) -> Unit:
    """Read a description that `save` wrote."""
    data = json.loads(file.read_text())
    network = data["network"]
    if network is not None:
        network = Network(**{**network, "routes": tuple((subnet, via) for subnet, via in network["routes"])})
    return Unit(
        name=data["name"],
        programs=tuple(Program(p["name"], tuple(p["arguments"]), p["needs"]) for p in data["programs"]),
        logs=data["logs"],
        cgroups=tuple(data["cgroups"]),
        path=data["path"],
        network=network,
        mounts=tuple(Mount(**mount) for mount in data["mounts"]),
    )


def write_whole(file: pathlib.Path, text: str, mode: int = 0o644) -> None:
    """Replace a file's content atomically: a reader sees the old or the new content, never a part."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    temporary.replace(file)


def record(file: pathlib.Path, process: processes.Identity) -> None:
    """Record which process to end."""
    write_whole(file, json.dumps(dataclasses.asdict(process)))


def recorded(file: pathlib.Path) -> processes.Identity | None:
    """Return the process of a unit, or None if it was never started or has ended."""
    try:
        process = processes.Identity(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    return process if processes.alive(process) else None
