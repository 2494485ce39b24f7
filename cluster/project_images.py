"""The project's images, from the same Dockerfile that a registry's are built from."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

from cluster import base_image, build, dockerfile, images, progress, settings, stamps
from cluster.images import FOLDER, Image

DOCKERFILE = settings.ROOT / "Dockerfile"
TARGETS = {"services": "unigpu", "probe": "unigpu-probe"}
"""Stage of the Dockerfile and name of its image."""

CERTIFICATES = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries", "client-cert")
"""Of this machine's pip configuration, what decides where packages come from."""


def make_all() -> dict[str, Image]:
    """Every image that a demo or a test needs, by role; makes those that are missing. Raises BuildFailed."""
    made = {"busybox": images.busybox(), "scheduler": images.scheduler()}
    for target, name in TARGETS.items():
        made[target] = make(target, name)
    return made


def make(target: str, name: str) -> Image:
    """One target of the Dockerfile, unless there is an image of just these inputs."""
    base = base_image.base()
    lines, paths = dockerfile.inputs(DOCKERFILE, target)
    tag = stamps.digest(paths, [base.name, *lines])
    image = Image(f"{images.LOCAL}{name}:{tag}", FOLDER / f"{name}-{tag}.tar")
    if image.file.exists():
        return image
    base_image.make(base)
    with progress.step(f"image {image.name}"):
        (FOLDER / "run").mkdir(exist_ok=True)
        _buildah("rm", "--all")  # what an interrupted build left
        _import_base(base)
        settings_file = FOLDER / "pip.conf"
        settings_file.write_text(_pip_configuration())
        _buildah(
            "bud",
            "--isolation=chroot",
            "--layers",
            "--pull-never",
            f"--build-arg=BASE={base.name}",
            f"--volume={settings_file}:/etc/pip.conf:ro",
            f"--volume={CERTIFICATES}:{CERTIFICATES}:ro",
            f"--target={target}",
            f"--tag={image.name}",
            f"--file={DOCKERFILE}",
            str(settings.ROOT),
        )
        temporary = image.file.with_name(f".{image.file.name}.{os.getpid()}")
        try:
            _buildah("push", image.name, f"docker-archive:{temporary}:{image.name}")
            temporary.replace(image.file)
        finally:
            temporary.unlink(missing_ok=True)
        _forget_older(image, name)
    return image


def _forget_older(image: Image, name: str) -> None:
    """Removes the archives and the builder's images of earlier inputs; what layers they share with this one stay."""
    pattern = re.compile(rf"{re.escape(name)}-[0-9a-f]+\.tar")
    for old in FOLDER.iterdir():
        if pattern.fullmatch(old.name) and old != image.file:
            old.unlink()
    command = [*_command(), "images", "--format", "{{.Name}}:{{.Tag}}"]
    listing = subprocess.run(command, capture_output=True, text=True).stdout
    for other in listing.split():
        if other.startswith(f"{images.LOCAL}{name}:") and other != image.name:
            _buildah("rmi", other)


def _import_base(base: Image) -> None:
    known = subprocess.run([*_command(), "inspect", "--type=image", base.name], capture_output=True)
    if known.returncode != 0:
        _buildah("pull", f"docker-archive:{base.file}")


def _buildah(*arguments: str) -> None:
    build.run([*_command(), *arguments], settings.ROOT)


def _command() -> list[str]:
    """buildah with a store of our own: the machine's other images are none of our business.

    It has a mount namespace of its own too, because it leaves its mounts behind when it fails or is killed; what it
    remembers of mounts is as short-lived.
    """
    isolation = ["unshare", "--mount", "--propagation=private", "sh", "-c"]
    script = f'mount -t tmpfs tmpfs "{FOLDER / "run"}" && exec "$@"'
    store = [f"--root={FOLDER / 'store'}", f"--runroot={FOLDER / 'run'}", "--storage-driver=overlay"]
    return [*isolation, script, "sh", "buildah", *store]


def _pip_configuration() -> str:
    """This machine's way to its package index, for the build; it is mounted, and stays out of the image."""
    listing = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    lines = ["[global]", f"cert = {CERTIFICATES}"]
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in PIP_OPTIONS:
            lines.append(f"{option} = {value.strip(chr(39))}")
    return "\n".join(lines) + "\n"
