"""Build the cluster's images without a registry, and load them into the nodes."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
from collections.abc import Iterable

from cluster import archive, build, errors, pause_image, progress, settings, stamps, units

FOLDER = settings.BUILD / "images"
BUSYBOX = pathlib.Path("/bin/busybox")
LOCAL = "localhost/"
"""Prefix of images that are built here: without it, a container runtime would add its default registry."""


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An image in an archive."""

    name: str
    """Name that pods use; its tag is a hash of all inputs."""
    file: pathlib.Path


def essential() -> list[Image]:
    """Return the images that every cluster has: the pods' pause process, and busybox for experiments."""
    return [pause(), busybox()]


def pause() -> Image:
    """Return the image of each pod's first process, building it if necessary."""
    name = pause_image.name()
    image = Image(name, FOLDER / f"pause-{name.rpartition(':')[2]}.tar")
    if not image.file.exists():
        program = build.build_pause()
        archive.write(image.file, image.name, [archive.Entry("pause", source=program)], ["/pause"])
    return image


def busybox() -> Image:
    """Return `localhost/busybox:local`, built from Debian's static busybox."""
    if not BUSYBOX.exists():
        raise errors.PreflightError(f"{BUSYBOX} is not installed: run `apt-get install busybox-static`.")
    image = Image(f"{LOCAL}busybox:local", FOLDER / f"busybox-{stamps.digest([BUSYBOX])}.tar")
    if not image.file.exists():
        listing = subprocess.run([str(BUSYBOX), "--list"], check=True, capture_output=True, text=True)
        entries = [archive.Entry("bin"), archive.Entry("tmp", mode=0o1777)]
        entries.append(archive.Entry("bin/busybox", source=BUSYBOX))
        entries += [
            archive.Entry(f"bin/{applet}", link="busybox") for applet in listing.stdout.split() if applet != "busybox"
        ]
        archive.write(image.file, image.name, entries, ["sh"], entry_point=False)
    return image


def scheduler(kubernetes: str = "") -> Image:
    """Return `localhost/kube-scheduler:HASH`, the same stock scheduler that a cluster of that version runs."""
    module = build.kubernetes(kubernetes)
    program, stamp = module.output, module.stamp
    if not (program.exists() and stamp.exists()):
        raise errors.PreflightError(
            "The image of kube-scheduler needs the Kubernetes binary, which is not built yet: run `make cluster`."
        )
    tag = stamp.read_text()
    image = Image(f"{LOCAL}kube-scheduler:{tag}", FOLDER / f"kube-scheduler-{tag}.tar")
    if not image.file.exists():
        entries = [
            archive.Entry("usr"),
            archive.Entry("usr/local"),
            archive.Entry("usr/local/bin"),
            archive.Entry("usr/local/bin/kube-scheduler", source=program),
            archive.Entry("tmp", mode=0o1777),
        ]
        with progress.step("image of kube-scheduler"):
            archive.write(image.file, image.name, entries, ["kube-scheduler"], entry_point=False)
    return image


def load(layout: settings.Layout, node: str, wanted: Iterable[Image]) -> None:
    """Load the images that a running node doesn't have yet. Raises StepFailed with the runtime's message."""
    record = layout.node(node) / "images.json"
    loaded: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    missing = [image for image in wanted if loaded.get(image.name) != image.file.name]
    if not missing:
        return
    with progress.step(f"loading images into {node}: {', '.join(image.name for image in missing)}"):
        socket = _socket(layout, node)
        for image in missing:
            bring_in(image, socket)
            loaded[image.name] = image.file.name
            units.write_whole(record, json.dumps(loaded))


def bring_in(image: Image, socket: str) -> None:
    """Import an image into the containerd behind that socket. Raises StepFailed with its message."""
    # --local is three times as fast as the transfer service, which receives the archive in small messages.
    done = _ctr(socket, "images", "import", "--local", str(image.file))
    if done.returncode != 0:
        raise errors.StepFailed(f"containerd can't import the image {image.name}: {done.stderr.strip()}")


def drop(name: str, socket: str) -> None:
    """Remove an image, and its layers that no other image uses, from the containerd behind that socket."""
    _ctr(socket, "images", "remove", "--sync", name)


def answers(socket: str) -> bool:
    """Return whether a containerd answers at that socket."""
    return pathlib.Path(socket).exists() and _ctr(socket, "version").returncode == 0


def _ctr(socket: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(settings.BIN / "ctr"), "--address", socket, "--namespace", "k8s.io", *arguments]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def _socket(layout: settings.Layout, node: str) -> str:
    """Return the host path of a node's containerd socket, once it answers."""
    socket = ""

    def reached() -> bool:
        nonlocal socket
        supervisor = units.recorded(layout.units / f"{node}.supervisor")
        if supervisor is None:
            return False
        socket = f"/proc/{supervisor.pid}/root/run/containerd/containerd.sock"
        return answers(socket)

    progress.wait_for(
        reached, 60.0, lambda: f"containerd of {node} doesn't answer; its log is in {layout.logs / node}."
    )
    return socket
