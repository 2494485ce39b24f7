"""The images of the cluster, made without a registry, and their way into the nodes."""

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
"""Before the names of images that are made here: before a bare one, a container runtime puts its default registry."""


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An image in an archive."""

    name: str
    """What pods say; its tag is a hash of all that went into it."""
    file: pathlib.Path


def essential() -> list[Image]:
    """What every cluster has: the pods' first process, and busybox for trying things out."""
    return [pause(), busybox()]


def pause() -> Image:
    """The first process of each pod."""
    name = pause_image.name()
    image = Image(name, FOLDER / f"pause-{name.rpartition(':')[2]}.tar")
    if not image.file.exists():
        program = build.build_pause()
        archive.write(image.file, image.name, [archive.Entry("pause", source=program)], ["/pause"])
    return image


def busybox() -> Image:
    """`localhost/busybox:local`, from Debian's static busybox."""
    if not BUSYBOX.exists():
        raise errors.PreflightError(f"{BUSYBOX} is missing: run `apt-get install busybox-static`.")
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


def scheduler() -> Image:
    """`localhost/kube-scheduler:HASH`, the stock scheduler as the cluster itself runs it."""
    program, stamp = settings.BIN / "kubernetes", settings.BIN / ".kubernetes.stamp"
    if not (program.exists() and stamp.exists()):
        raise errors.PreflightError(
            "Kubernetes is not built, and the image of kube-scheduler is made of it: run `make cluster`."
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
    """Brings images into a running node that it doesn't have yet. Raises StepFailed with what the runtime says."""
    record = layout.node(node) / "images.json"
    loaded: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    missing = [image for image in wanted if loaded.get(image.name) != image.file.name]
    if not missing:
        return
    with progress.step(f"images into {node}: {', '.join(image.name for image in missing)}"):
        socket = _socket(layout, node)
        for image in missing:
            bring_in(image, socket)
            loaded[image.name] = image.file.name
            units.write_whole(record, json.dumps(loaded))


def bring_in(image: Image, socket: str) -> None:
    """Unpacks an image into the containerd behind that socket. Raises StepFailed with what it says."""
    # --local: three times as fast as the transfer service, which takes the archive in small messages.
    done = _ctr(socket, "images", "import", "--local", str(image.file))
    if done.returncode != 0:
        raise errors.StepFailed(f"The image {image.name} can't be unpacked: {done.stderr.strip()}")


def drop(name: str, socket: str) -> None:
    """Removes an image, and what of it no other image has, from the containerd behind that socket."""
    _ctr(socket, "images", "remove", "--sync", name)


def answers(socket: str) -> bool:
    """Whether a containerd is behind that socket."""
    return pathlib.Path(socket).exists() and _ctr(socket, "version").returncode == 0


def _ctr(socket: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(settings.BIN / "ctr"), "--address", socket, "--namespace", "k8s.io", *arguments]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def _socket(layout: settings.Layout, node: str) -> str:
    """Path of a node's containerd socket as the machine sees it, once it answers."""
    socket = ""

    def reached() -> bool:
        nonlocal socket
        supervisor = units.recorded(layout.units / f"{node}.supervisor")
        if supervisor is None:
            return False
        socket = f"/proc/{supervisor.pid}/root/run/containerd/containerd.sock"
        return answers(socket)

    progress.wait_for(reached, 60.0, lambda: f"containerd of {node} does not answer; see {layout.logs / node}.")
    return socket
