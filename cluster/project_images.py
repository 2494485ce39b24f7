"""Build the project's images from the same Dockerfile as those of a registry."""

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
"""Stage of the Dockerfile → name of its image."""

CERTIFICATES = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries", "client-cert")
"""Options of this machine's pip configuration that decide where packages come from."""


def make_all(kubernetes: str = "") -> dict[str, Image]:
    """Return every image that the demo and the tests need, by role, building the missing ones.

    `kubernetes` as in Settings. Raises BuildFailed.
    """
    made = {"busybox": images.busybox(), "scheduler": images.scheduler(kubernetes)}
    for target, name in TARGETS.items():
        made[target] = make(target, name)
    return made


def make(target: str, name: str) -> Image:
    """Build one target of the Dockerfile, unless an image of exactly these inputs exists."""
    base = base_image.base()
    lines, paths = dockerfile.inputs(DOCKERFILE, target)
    tag = stamps.digest(paths, [base.name, *lines])
    image = Image(f"{images.LOCAL}{name}:{tag}", FOLDER / f"{name}-{tag}.tar")
    if image.file.exists():
        return image
    base_image.make(base)
    with progress.step(f"building image {image.name}"):
        (FOLDER / "run").mkdir(exist_ok=True)
        _buildah("rm", "--all")  # left by an interrupted build
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
    """Remove archives and builder images of earlier inputs; layers that they share with this image stay."""
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
    """Return the command line of buildah with its own store, so that it doesn't touch other images of the machine.

    It also gets its own mount namespace, because it leaves mounts behind when it fails or is killed. Its record of
    mounts, in a tmpfs, is equally short-lived.
    """
    isolation = ["unshare", "--mount", "--propagation=private", "sh", "-c"]
    script = f'mount -t tmpfs tmpfs "{FOLDER / "run"}" && exec "$@"'
    store = [f"--root={FOLDER / 'store'}", f"--runroot={FOLDER / 'run'}", "--storage-driver=overlay"]
    return [*isolation, script, "sh", "buildah", *store]


def _pip_configuration() -> str:
    """Return this machine's package index settings for the build; they are mounted, and stay out of the image."""
    listing = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    lines = ["[global]", f"cert = {CERTIFICATES}"]
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in PIP_OPTIONS:
            lines.append(f"{option} = {value.strip(chr(39))}")
    return "\n".join(lines) + "\n"
