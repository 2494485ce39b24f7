"""The base of the release's images: Python and the C library from Debian's packages, unpacked and nothing else.

There is no shell and no package manager's work in it, and nothing of it is run, so that one machine makes it for every
processor. The same versions of the packages give the same bytes.
"""

from __future__ import annotations

import dataclasses
import pathlib
import tarfile
import tempfile

from cluster import base_image
from release.run import require, run

PACKAGES = ("base-files", "libstdc++6", "python3")
LICENCES = "usr/share/doc/"
LEFT_OUT = (
    LICENCES,
    "dev/",
    "usr/share/man/",
    "usr/share/locale/",
    "usr/share/info/",
    "usr/share/lintian/",
    "var/cache/",
    "var/lib/apt/",
    "var/log/",
)
HOOKS = pathlib.Path("/usr/share/mmdebstrap/hooks/merged-usr")


@dataclasses.dataclass(frozen=True, slots=True)
class Package:
    """A Debian package in an image."""

    name: str
    version: str
    architecture: str


def make(architecture: str, layer: pathlib.Path, epoch: int) -> list[Package]:
    """Write the layer as a tar file, and return its packages. Raises ReleaseError with the output of mmdebstrap."""
    require("mmdebstrap")
    with tempfile.TemporaryDirectory() as scratch:
        whole, listing, options = (pathlib.Path(scratch) / name for name in ("whole.tar", "packages", "apt.conf"))
        options.write_text(base_image.machine_options(), encoding="utf-8")
        command = [
            "mmdebstrap",
            "--variant=extract",
            f"--architectures={architecture}",
            f"--include={','.join(PACKAGES)}",
            f"--aptopt={options}",
            f"--hook-dir={HOOKS}",
            f'--extract-hook=ls "$1"/var/cache/apt/archives >{listing}',
            "--format=tar",
            base_image.SUITE,
            str(whole),
            *base_image.machine_sources(),
        ]
        run(command, layer.parent, {"SOURCE_DATE_EPOCH": str(epoch)})
        _thin(whole, layer)
        return _packages(listing.read_text(encoding="utf-8"))


def _thin(whole: pathlib.Path, layer: pathlib.Path) -> None:
    """Copy a layer without what no image needs; licences stay."""
    with tarfile.open(whole) as source, tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as out:
        for member in source:
            name = member.name.removeprefix("./")
            if not name.startswith(LEFT_OUT) or (name.startswith(LICENCES) and name.endswith("/copyright")):
                out.addfile(member, source.extractfile(member) if member.isreg() else None)


def _packages(listing: str) -> list[Package]:
    """Read names of package files: `libc6_2.36-9_amd64.deb`, a colon as `%3a`."""
    found = []
    for file in listing.split():
        if file.endswith(".deb"):
            name, version, architecture = file.removesuffix(".deb").split("_")
            found.append(Package(name, version.replace("%3a", ":"), architecture))
    return sorted(found, key=lambda package: package.name)
