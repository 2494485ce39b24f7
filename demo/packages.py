"""Install missing Debian packages, and say why each is needed.

Uses only the standard library, because it runs before the project's Python environment exists.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from cluster import doctor

TESTS = (
    doctor.Package("valgrind", "valgrind", "runs libvgpu in the tests"),
    doctor.Package("binutils", "readelf", "reads libvgpu's symbols in the tests"),
    doctor.Package("prometheus", "promtool", "runs the chart's alerts in the tests"),
    doctor.Package("chromium", "chromium", "shows the page in the tests"),
)
"""Packages that only the tests need."""

RELEASE = (
    doctor.Package("mmdebstrap", "mmdebstrap", "makes the images' base from Debian packages"),
    doctor.Package("gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc", "compiles libvgpu and the simulator for arm64"),
    # Only recommended by the compiler, and recommendations aren't followed.
    doctor.Package(
        "libc6-dev-arm64-cross", "/usr/aarch64-linux-gnu/include/stdio.h", "arm64's C library, to compile with"
    ),
    doctor.Package("qemu-user-static", "qemu-aarch64-static", "runs programs of arm64 in `make check-dist`"),
    doctor.Package("skopeo", "skopeo", "pushes images in `make check-dist`"),
    doctor.Package("docker-registry", "docker-registry", "receives images in `make check-dist`"),
)
"""Packages that only a release needs."""


def missing(*, tests: bool) -> list[doctor.Package]:
    """Return the packages that are not installed, in listed order."""
    absent = doctor.missing_packages()
    if tests:
        absent += _absent(TESTS)
    return absent


def _absent(packages: Sequence[doctor.Package]) -> list[doctor.Package]:
    return [package for package in packages if not doctor.is_there(package)]


def install(packages: Sequence[doctor.Package]) -> int:
    """Install the packages and print why any of them can't be installed; return the exit status."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    names = " ".join(package.name for package in packages)
    # If the package lists can't be updated, the old ones may suffice.
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
    command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *names.split()]
    code = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode
    if code != 0:
        print(
            f"\nCan't install Debian packages ({names}): fix the problem that apt-get reports above, or install them"
            " yourself."
        )
        return 1
    for package in packages:
        if not doctor.is_there(package):
            print(
                f"The Debian package {package.name} is installed, but {package.probe} is missing: run"
                f" `apt-get install --reinstall {package.name}`."
            )
            code = 1
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python3 -m demo.packages [--tests | --release]`; return 0 once nothing is missing."""
    parser = argparse.ArgumentParser(
        prog="python3 -m demo.packages", description="Install the missing Debian packages."
    )
    parser.add_argument("--tests", action="store_true", help="also install packages that only the tests need")
    parser.add_argument("--release", action="store_true", help="install those that a release needs, and no others")
    given = parser.parse_args(arguments)
    absent = _absent(RELEASE) if given.release else missing(tests=given.tests)
    if not absent:
        return 0
    if os.geteuid() != 0:
        names = " ".join(package.name for package in absent)
        print(
            f"Debian packages are not installed: run `sudo apt-get install {names}`, or run this as root.",
            file=sys.stderr,
        )
        return 1
    for package in absent:
        print(f"{package.name} is not installed: {package.reason}", flush=True)
    return install(absent)


if __name__ == "__main__":
    sys.exit(main())
