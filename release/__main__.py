"""Build a release: `python -m release [--output DIR] [--architectures amd64,arm64]`."""

from __future__ import annotations

import argparse
import pathlib
import shutil
import sys
import tempfile

from cluster import progress
from release import bundle, chart, images, krew, library, native, sbom, source, wheels
from release.errors import ReleaseError

OUTPUT = source.ROOT / "build" / "dist"


def main() -> int:
    """Build; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m release",
        description="Build what a release publishes from the last commit. Two builds of one commit have the same "
        "bytes, as long as Debian's packages of the base image have the same versions.",
    )
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT, help="folder, replaced (default: build/dist)")
    parser.add_argument(
        "--architectures", default=",".join(native.MACHINES), help="of images and libraries (default: amd64,arm64)"
    )
    given = parser.parse_args()
    try:
        make(given.output, given.architectures.split(","), source.last_commit())
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


def make(output: pathlib.Path, architectures: list[str], commit: str) -> None:
    """Build everything of a commit into a folder, which is replaced at the end. Raises ReleaseError."""
    changed = source.uncommitted()
    if changed:
        progress.note(f"Not in the release, because not committed: {', '.join(changed[:5])}{' …' * (len(changed) > 5)}")
    with tempfile.TemporaryDirectory(prefix="unigpu-release-") as folder:
        scratch = pathlib.Path(folder)
        scratch.chmod(0o755)  # mmdebstrap's child may be another user
        out = scratch / "out"
        out.mkdir()
        exported = source.export(scratch / "source", commit)
        built = {}
        for architecture in architectures:
            with progress.step(f"libvgpu, simulator and probe for {architecture}"):
                built[architecture] = native.build(exported, architecture, scratch)
        with progress.step("chart"):
            chart.package(exported, out)
        with progress.step("wheels kubectl-unigpu and unigpu-sim, plugin for krew"):
            wheel = wheels.kubectl_unigpu(exported, scratch, out)
            krew.pack(exported, wheel, scratch, out)
            for architecture, one in built.items():
                wheels.unigpu_sim(exported, one, architecture, scratch, out)
        with progress.step("libvgpu as tar files and Debian packages"):
            for architecture, one in built.items():
                library.tarball(exported, one, architecture, out)
                library.debian(exported, one, architecture, scratch, out)
        with progress.step(f"images for {', '.join(architectures)}"):
            contents = images.make(exported, built, scratch, out)
        with progress.step("list of contents, bundle, checksums"):
            sbom.write(exported, contents, out / f"unigpu-{exported.version}.cdx.json")
            bundle.pack(exported, out, scratch)
            bundle.checksums(out)
        shutil.rmtree(output, ignore_errors=True)
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(out, output)
    _show(output)


def _show(output: pathlib.Path) -> None:
    print(f"{output}:")
    for path in sorted(output.iterdir()):
        files = path.rglob("*") if path.is_dir() else [path]
        size = sum(file.stat().st_size for file in files if file.is_file()) / 1e3
        print(f"  {size:10,.0f} kB  {path.name}{'/' if path.is_dir() else ''}")


if __name__ == "__main__":
    raise SystemExit(main())
