"""The release's images: the same content as the Dockerfile's, put together from packages for every processor.

A Dockerfile runs programs of the image's processor; this runs none, so that one machine builds both architectures, and
two builds have the same bytes.
"""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
from collections.abc import Mapping, Sequence

from cluster import dockerfile
from release import archive, base, oci, python_packages
from release.native import Built
from release.source import Source

HOME = "opt/unigpu"
APP, SITE = f"{HOME}/app", f"{HOME}/site"
USER = "65532:65532"
ACCOUNTS = "root:x:0:0:root:/root:/sbin/nologin\nunigpu:x:65532:65532:unigpu:/:/sbin/nologin\n"
GROUPS = "root:x:0:\nunigpu:x:65532:\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """What is in the images of one processor, besides unigpu."""

    debian: Sequence[base.Package]
    python: Mapping[str, str]


def make(source: Source, built: Mapping[str, Built], scratch: pathlib.Path, into: pathlib.Path) -> dict[str, Content]:
    """Write the layouts `unigpu` and `unigpu-probe` for every architecture; return what is in them, by architecture."""
    services, probe = (oci.Layout(into / name, source.epoch) for name in ("unigpu", "unigpu-probe"))
    manifests: dict[str, list[oci.Json]] = {"services": [], "probe": []}
    contents = {}
    for architecture, native in built.items():
        here = scratch / f"image-{architecture}"
        here.mkdir()
        system = here / "base.tar"
        packages = base.make(architecture, system, source.epoch)
        lock = source.folder / "requirements.lock"
        python_packages.install(lock, architecture, here / "site", f"/{SITE}")
        app, site, tool = (here / f"{name}.tar" for name in ("app", "site", "probe"))
        archive.tar(site, [(here / "site", SITE), *_system_files(here)], source.epoch)
        archive.tar(
            app,
            [
                (_code(source, here), APP),
                (native.libvgpu, f"{HOME}/lib/libvgpu.so"),
                (native.simulator, f"{HOME}/simulator"),
            ],
            source.epoch,
        )
        archive.tar(tool, [(native.probe, "usr/local/bin/probe"), *_system_files(here)], source.epoch)
        debian = (system, "Debian packages")
        manifests["services"].append(
            services.image(architecture, [debian, (site, "Python packages"), (app, "unigpu")], _settings(source))
        )
        manifests["probe"].append(
            probe.image(architecture, [debian, (tool, "unigpu's probe")], _probe_settings(source))
        )
        contents[architecture] = Content(packages, python_packages.pinned(lock.read_text(encoding="utf-8")))
    services.close(source.version, manifests["services"])
    probe.close(source.version, manifests["probe"])
    return contents


def _code(source: Source, here: pathlib.Path) -> pathlib.Path:
    """Copy the code that the Dockerfile copies, and compile it: at run time the root file system is read-only."""
    _, paths = dockerfile.inputs(source.folder / "Dockerfile", "code")
    folder = here / "app"
    for path in paths:
        relative = path.relative_to(source.folder)
        if len(relative.parts) > 1:
            (folder / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, folder / relative)
    python_packages.compile_all(folder, f"/{APP}")
    return folder


def _system_files(here: pathlib.Path) -> list[tuple[pathlib.Path, str]]:
    """Return files that the packages' scripts would have written, had they run."""
    accounts, groups, python = here / "passwd", here / "group", here / "python"
    accounts.write_text(ACCOUNTS, encoding="utf-8")
    groups.write_text(GROUPS, encoding="utf-8")
    if not python.is_symlink():
        python.symlink_to("/usr/bin/python3")
    return [(accounts, "etc/passwd"), (groups, "etc/group"), (python, "usr/local/bin/python")]


def _settings(source: Source) -> oci.Settings:
    environment = [
        "PATH=/usr/local/bin:/usr/bin:/bin",
        f"PYTHONPATH=/{APP}:/{SITE}",
        "PYTHONDONTWRITEBYTECODE=1",
        f"UNIGPU_SIM_LIBRARIES=/{HOME}/simulator",
    ]
    return oci.Settings(["python", "-m", "cli", "--help"], environment, USER, _labels(source, "unigpu"))


def _probe_settings(source: Source) -> oci.Settings:
    return oci.Settings(["probe"], ["PATH=/usr/local/bin:/usr/bin:/bin"], USER, _labels(source, "unigpu-probe"))


def _labels(source: Source, title: str) -> dict[str, str]:
    return {
        "org.opencontainers.image.title": title,
        "org.opencontainers.image.version": source.version,
        "org.opencontainers.image.revision": source.commit,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
