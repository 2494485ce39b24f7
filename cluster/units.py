"""What a unit is made of, and the files that describe it.

A unit is a process tree under one supervisor. `UNIT.json` says what to run, `UNIT.process` which process to end.
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
    """The first is the absolute path of the program."""
    needs: str = ""
    """A path that must exist before it is started (its peer's socket), empty for none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mount:
    """One mount that is made inside of a node, in the order in which they are listed."""

    target: str
    source: str = ""
    """A host path to bind; empty for a tmpfs."""
    read_only: bool = False
    overlay: str = ""
    """A folder that is laid over the target, so that mount points exist which the machine lacks."""


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """How a node is wired: one cable from the cluster's bridge."""

    bridge: str
    host_end: str
    """Name of the cable's end in the machine."""
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
    """Folder for one log a program."""
    cgroups: tuple[str, ...]
    """Folders of the control groups that all its processes belong to."""
    path: str
    """PATH of its programs."""
    network: Network | None = None
    """Given for nodes: they have mount, network and host name of their own."""
    mounts: tuple[Mount, ...] = ()


def save(unit: Unit, file: pathlib.Path) -> None:
    """Writes the description, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(dataclasses.asdict(unit), indent=1))


def load(file: pathlib.Path) -> Unit:
    """Reads what `save` wrote."""
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
    """Replaces a file's content so that a reader sees the old or the new, never a part."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    temporary.replace(file)


def record(file: pathlib.Path, process: processes.Identity) -> None:
    """Remembers which process to end."""
    write_whole(file, json.dumps(dataclasses.asdict(process)))


def recorded(file: pathlib.Path) -> processes.Identity | None:
    """The process of a unit, None if it was never started or has ended."""
    try:
        process = processes.Identity(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    return process if processes.alive(process) else None
