"""Debian packages that are missing: which, why, and how they are put there.

Only the standard library: this runs before the project's Python environment exists.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from cluster import doctor

TESTS = (
    doctor.Package("valgrind", "valgrind", "the tests run libvgpu under it"),
    doctor.Package("binutils", "readelf", "the tests read libvgpu's symbols with it"),
)
"""What the tests need beyond the cluster."""


def missing(*, tests: bool) -> list[doctor.Package]:
    """The packages that are not installed, in the order in which they are listed."""
    absent = doctor.missing_packages()
    if tests:
        absent += [package for package in TESTS if not doctor.is_there(package)]
    return absent


def install(packages: Sequence[doctor.Package]) -> int:
    """Install them, and say what keeps that from being done; exit status."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    names = " ".join(package.name for package in packages)
    # A list of packages that could not be brought up to date may still do.
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
    command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *names.split()]
    code = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode
    if code != 0:
        print(
            f"\nDebian packages can't be installed ({names}): mend what apt-get says above, or install them yourself."
        )
        return 1
    for package in packages:
        if not doctor.is_there(package):
            print(
                f"The Debian package {package.name} is installed, but its {package.probe} is missing: run"
                f" `apt-get install --reinstall {package.name}`."
            )
            code = 1
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """`python3 -m demo.packages [--tests]`: exit status 0 when nothing is missing any more."""
    parser = argparse.ArgumentParser(prog="python3 -m demo.packages", description=__doc__)
    parser.add_argument("--tests", action="store_true", help="also what only the tests need")
    absent = missing(tests=parser.parse_args(arguments).tests)
    if not absent:
        return 0
    if os.geteuid() != 0:
        names = " ".join(package.name for package in absent)
        print(f"Debian packages are missing: run `sudo apt-get install {names}`, or run this as root.", file=sys.stderr)
        return 1
    for package in absent:
        print(f"{package.name} is missing: {package.reason}", flush=True)
    return install(absent)


if __name__ == "__main__":
    sys.exit(main())
