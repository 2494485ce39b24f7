"""Check a release as its users would: `python -m release.check [--output DIR]`.

Two builds have the same bytes; the wheels run in clean environments; the chart is one that Helm reads; the bundle is
whole, and its images reach a registry; libvgpu and the simulator of another processor run under an emulator.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import platform
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator

from cluster import progress
from release import __main__ as build
from release import native, source
from release.errors import ReleaseError
from release.run import require, run

HELM = source.ROOT / "build" / "bin" / "helm"
_REGISTRY = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def main() -> int:
    """Check; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m release.check", description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, default=build.OUTPUT, help="folder (default: build/dist)")
    output = parser.parse_args().output
    try:
        require("skopeo", "docker-registry", "qemu-aarch64-static")
        with tempfile.TemporaryDirectory(prefix="unigpu-release-check-") as folder:
            scratch = pathlib.Path(folder)
            commit = source.last_commit()  # of both builds, whatever is committed in between
            build.make(output, list(native.MACHINES), commit)
            build.make(scratch / "again", list(native.MACHINES), commit)
            steps: list[tuple[str, Callable[[pathlib.Path, pathlib.Path], None]]] = [
                ("two builds have the same bytes", same_bytes),
                ("the wheels run in clean environments", wheels_run),
                ("krew's archive runs", plugin_runs),
                ("Helm reads the chart", chart_reads),
                ("the bundle's images reach a registry", bundle_loads),
                ("libvgpu holds a program on the other processor", other_processor),
            ]
            for words, step in steps:
                with progress.step(words):
                    step(output, scratch)
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


def same_bytes(output: pathlib.Path, scratch: pathlib.Path) -> None:
    """Compare the checksums of two builds. Raises ReleaseError that names the files that differ."""
    first, second = ((folder / "SHA256SUMS").read_text().splitlines() for folder in (output, scratch / "again"))
    differ = sorted({line.split()[1] for line in set(first) ^ set(second)})
    if differ:
        raise ReleaseError(f"two builds differ in {', '.join(differ)}")


def wheels_run(output: pathlib.Path, scratch: pathlib.Path) -> None:
    """Install each wheel in an environment of its own, and run its program."""
    expected = {f"kubectl_unigpu-{version(output)}": "kubectl-unigpu", f"unigpu_sim-{version(output)}": "unigpu-sim"}
    for prefix, program in expected.items():
        machine = f"_{platform.machine()}.whl"
        (wheel,) = [one for one in output.glob(f"{prefix}-*.whl") if one.name.endswith(("any.whl", machine))]
        folder = scratch / program
        run([sys.executable, "-m", "venv", str(folder)], scratch)
        run([str(folder / "bin" / "pip"), "install", "--quiet", str(wheel)], scratch)
        installed = folder / "bin" / program
        if program == "unigpu-sim":
            environment = {"UNIGPU_SIM_DIR": str(scratch / "machine")}
            run([str(installed), "create", "--gpus", "1", "--profile", "t4"], scratch, environment)
            shown = run([str(installed), "show"], scratch, environment)
            _expect("Tesla T4" in shown, f"unigpu-sim shows {shown!r}")
        else:
            shown = run([str(installed), "version", "--client"], scratch)
            _expect(version(output) in shown, f"kubectl-unigpu shows {shown!r}")


def plugin_runs(output: pathlib.Path, scratch: pathlib.Path) -> None:
    """Unpack the plugin's archive as krew does, and start its program for the first and the second time."""
    folder = scratch / "krew-store"
    with tarfile.open(output / f"kubectl-unigpu-{version(output)}.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    environment = {"XDG_CACHE_HOME": str(scratch / "krew-cache")}
    for _ in range(2):
        shown = run([str(folder / "kubectl-unigpu"), "version", "--client"], scratch, environment)
        _expect(version(output) in shown, f"krew's kubectl-unigpu shows {shown!r}")


def chart_reads(output: pathlib.Path, scratch: pathlib.Path) -> None:
    """Let Helm read the packaged chart."""
    helm = str(HELM) if HELM.exists() else "helm"
    require(helm)
    shown = run([helm, "show", "chart", str(output / f"unigpu-{version(output)}.tgz")], scratch)
    _expect(f"version: {version(output)}" in shown, f"Helm shows {shown!r}")


def bundle_loads(output: pathlib.Path, scratch: pathlib.Path) -> None:
    """Unpack the bundle, and let it push its images into a registry on this machine."""
    with tarfile.open(output / f"unigpu-{version(output)}-bundle.tar") as tar:
        tar.extractall(scratch, filter="data")
    folder = scratch / f"unigpu-{version(output)}-bundle"
    with _registry(scratch) as address:
        run([str(folder / "load"), f"{address}/team"], folder, {"SKOPEO_OPTIONS": "--dest-tls-verify=false"})
        for image in ("unigpu", "unigpu-probe"):
            name = f"docker://{address}/team/{image}:{version(output)}"
            shown = run(["skopeo", "inspect", "--raw", "--tls-verify=false", name], scratch)
            missing = [one for one in native.MACHINES if f'"architecture":"{one}"' not in shown]
            _expect(not missing, f"{image} in the registry has no {', '.join(missing)}")


def other_processor(output: pathlib.Path, scratch: pathlib.Path) -> None:
    """Run the probe of arm64 under an emulator, on the simulated GPU, alone and limited to 1 GiB."""
    with tarfile.open(output / f"libvgpu-{version(output)}-linux-arm64.tar.gz") as tar:
        tar.extractall(scratch, filter="data")
    libvgpu = scratch / f"libvgpu-{version(output)}-linux-arm64" / "libvgpu.so"
    exported = source.export(scratch / "emulated", source.last_commit())
    built = native.build(exported, "arm64", scratch)
    machine = str(scratch / "machine-arm64")
    run([sys.executable, "-m", "simulator", "create", "--dir", machine, "--profile", "t4"], source.ROOT)
    emulator = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu", "-E", f"LD_LIBRARY_PATH={built.simulator}"]
    emulator += ["-E", f"UNIGPU_SIM_DIR={machine}"]
    alone = run([*emulator, str(built.probe)], scratch)
    _expect('"total_bytes":15827206144' in alone, f"alone, the probe sees {alone!r}")
    limits = ["-E", f"LD_PRELOAD={libvgpu}", "-E", "CUDA_DEVICE_MEMORY_LIMIT_0=1g"]
    limited = run([*emulator, *limits, str(built.probe)], scratch)
    _expect('"total_bytes":1073741824' in limited, f"limited to 1 GiB, the probe sees {limited!r}")


def version(output: pathlib.Path) -> str:
    """Return the version of a built release."""
    (chart,) = output.glob("unigpu-*.tgz")
    return chart.name.removeprefix("unigpu-").removesuffix(".tgz")


@contextlib.contextmanager
def _registry(scratch: pathlib.Path) -> Iterator[str]:
    """Run a registry on loopback; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = scratch / "registry.yml"
    settings.write_text(_REGISTRY.format(folder=scratch / "registry", port=port), encoding="utf-8")
    with (scratch / "registry.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(settings)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ReleaseError(f"the registry doesn't start: {(scratch / 'registry.log').read_text()}")
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5):
            return True
    except OSError:
        return False


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ReleaseError(otherwise)


if __name__ == "__main__":
    raise SystemExit(main())
