"""The base of the project's images where no registry can be reached: Debian with Python, straight from its packages."""

from __future__ import annotations

import pathlib
import subprocess
import tempfile

from cluster import archive, build, progress, stamps
from cluster.images import FOLDER, LOCAL, Image

SUITE = "bookworm"
PACKAGES = ("python3", "python3-venv", "libstdc++6")
"""What every image of the project stands on; gRPC's wheel is linked with the C++ library."""

LEFT_OUT = ("man", "doc", "locale", "info")
"""Of /usr/share. Removed at the end: dpkg itself would filter each package through a program, twice."""
SOURCES = (pathlib.Path("/etc/apt/sources.list.d/debian.sources"), pathlib.Path("/etc/apt/sources.list"))
"""Where Debian keeps the machine's choice of a mirror, newest form first."""


def base() -> Image:
    """The base as it is to be; `make` makes it."""
    tag = stamps.digest([], [SUITE, *PACKAGES, *LEFT_OUT, archive.architecture()])
    return Image(f"{LOCAL}base:{tag}", FOLDER / f"base-{tag}.tar")


def make(image: Image) -> None:
    """Makes the base unless it is there. Raises BuildFailed with what mmdebstrap says."""
    if not image.file.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with progress.step("base image from Debian packages"), tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
            layer = pathlib.Path(scratch) / "layer.tar"
            options = pathlib.Path(scratch) / "apt.conf"
            options.write_text(_machine_options())
            build.run(_command(options, layer), FOLDER)
            archive.wrap(image.file, image.name, layer, ["python3"])


def _command(options: pathlib.Path, layer: pathlib.Path) -> list[str]:
    sources = [str(file) for file in SOURCES if file.exists() and file.read_text().strip()]
    return [
        "mmdebstrap",
        "--variant=essential",
        f"--include={','.join(PACKAGES)}",
        f"--aptopt={options}",
        f'--customize-hook=cd "$1/usr/share" && rm -rf {" ".join(LEFT_OUT)}',
        "--format=tar",
        SUITE,
        str(layer),
        # Without this it would ask Debian's own servers, which a machine with a mirror may not reach.
        *sources[:1],
    ]


def _machine_options() -> str:
    """How this machine's apt downloads: proxy, retries, what it trusts."""
    dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    wanted = ("Acquire::http::", "Acquire::https::", "Acquire::Retries", "Acquire::Check-Valid-Until")
    return "".join(f"{line}\n" for line in dump.splitlines() if line.startswith(wanted))
