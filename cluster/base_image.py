"""Build the base of the project's images without a registry: Debian with Python, directly from Debian packages."""

from __future__ import annotations

import pathlib
import subprocess
import tempfile

from cluster import archive, build, progress, stamps
from cluster.images import FOLDER, LOCAL, Image

SUITE = "bookworm"
PACKAGES = ("python3", "python3-venv", "libstdc++6")
"""Packages that every image of the project needs; gRPC's wheel is linked with the C++ library."""

LEFT_OUT = ("man", "doc", "locale", "info")
"""Folders of /usr/share to remove at the end. Excluding them through dpkg would run a filter twice for each package."""
SOURCES = (pathlib.Path("/etc/apt/sources.list.d/debian.sources"), pathlib.Path("/etc/apt/sources.list"))
"""Files in which Debian records the machine's mirror, newest format first."""


def base() -> Image:
    """Describe the base image; `make` builds it."""
    tag = stamps.digest([], [SUITE, *PACKAGES, *LEFT_OUT, archive.architecture()])
    return Image(f"{LOCAL}base:{tag}", FOLDER / f"base-{tag}.tar")


def make(image: Image) -> None:
    """Build the base image unless it exists. Raises BuildFailed with the output of mmdebstrap."""
    if not image.file.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with progress.step("base image from Debian packages"), tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
            layer = pathlib.Path(scratch) / "layer.tar"
            options = pathlib.Path(scratch) / "apt.conf"
            options.write_text(machine_options())
            build.run(_command(options, layer), FOLDER)
            archive.wrap(image.file, image.name, layer, ["python3"])


def _command(options: pathlib.Path, layer: pathlib.Path) -> list[str]:
    return [
        "mmdebstrap",
        "--variant=essential",
        f"--include={','.join(PACKAGES)}",
        f"--aptopt={options}",
        f'--customize-hook=cd "$1/usr/share" && rm -rf {" ".join(LEFT_OUT)}',
        "--format=tar",
        SUITE,
        str(layer),
        *machine_sources(),
    ]


def machine_sources() -> list[str]:
    """Return the file that names this machine's Debian mirror, if it has one, as an argument for mmdebstrap.

    Without it mmdebstrap contacts Debian's own servers, which a machine with a mirror may be unable to reach.
    """
    return [str(file) for file in SOURCES if file.exists() and file.read_text().strip()][:1]


def machine_options() -> str:
    """Return the download options of this machine's apt: proxy, retries, trust."""
    dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    wanted = ("Acquire::http::", "Acquire::https::", "Acquire::Retries", "Acquire::Check-Valid-Until")
    return "".join(f"{line}\n" for line in dump.splitlines() if line.startswith(wanted))
