"""Steps about the node agent: what it reads of the GPU, and what it gives a container, tried with runc."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Final

from gpucheck import driver
from gpucheck.driver import MIB, OUT_OF_MEMORY
from gpucheck.outcome import Figures, Place, Skipped, Step
from gpucheck.processes import LIMIT, container, need
from unigpu import cdi, names
from unigpu.driver_parts import Capability, Wanted
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB

HOST: Final = ("/usr", "/lib", "/lib64", "/bin", "/etc")
NOBODY: Final = 65534
FIRST_ID: Final = 100_000
"""Of the host, which a user namespace maps to root."""


class _LinkMap(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("name", ctypes.c_char_p))


def path_of(library: ctypes.CDLL) -> Path:
    """Return the file that a library was loaded from."""
    found, load_map = ctypes.c_void_p(), 2
    ctypes.CDLL(None).dlinfo(ctypes.c_void_p(library._handle), load_map, ctypes.byref(found))
    return Path(os.fsdecode(ctypes.cast(found, ctypes.POINTER(_LinkMap)).contents.name)).resolve()


def probe(place: Place) -> Figures:
    """The node agent's probe reads the GPU that NVML shows, with the memory that can be given away."""
    nvml = driver.Nvml()
    command = [sys.executable, "-m", "deviceplugin.node.probe", str(path_of(nvml.library)), "10", "0"]
    with subprocess.Popen(command, cwd=place.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout and child.stderr
        line = child.stdout.readline()
        child.kill()
        if not line and "No module named" in (why := child.stderr.read()):
            raise Skipped(f"the probe can't run: {why.strip().splitlines()[-1]}")
    gpus = json.loads(line).get("gpus", [])
    need(bool(gpus), f"it says {line.strip()}")
    memory = nvml.memory_v2()
    usable = (memory["total"] - memory["reserved"]) // MIB
    need(gpus[0]["memory"] == usable, f"the probe reads {gpus[0]['memory']} MiB, of which {usable} can be given away")
    return {"gpus": len(gpus), "memory_mib": gpus[0]["memory"]}


PLAIN = Wanted()


def edits(folder: Path, wanted: Wanted = PLAIN) -> cdi.Edits:
    """Return what the node agent adds to a container for GPU 0, without libvgpu. Raises Skipped where it can't run."""
    try:
        from deviceplugin.node import driver as node_driver
    except ImportError as error:
        raise Skipped(f"the node agent's driver can't be imported: {error}") from error
    nvml, minor = driver.Nvml(), ctypes.c_uint()
    driver.check("nvmlDeviceGetMinorNumber", nvml.library.nvmlDeviceGetMinorNumber(nvml.device, ctypes.byref(minor)))
    gpu = Gpu(GpuUuid(nvml.text("nvmlDeviceGetUUID", nvml.device)), 0, minor.value, "", MiB(0))
    simulated = os.environ.get(names.ENV_SIM_DIR)
    made = (
        node_driver.Simulated(Path(simulated), path_of(nvml.library).parent)
        if simulated
        else node_driver.Real(Path("/"), PurePosixPath("/"))
    )
    own = cdi.Edits(mounts=[cdi.Mount(str(folder), str(folder), writable=True, executable=False)])
    return made.common().plus(made.own([gpu], wanted)).plus(own)


def toolkit(place: Place) -> Figures:
    """Which files of NVIDIA's own CDI spec the node agent leaves out."""
    program = shutil.which("nvidia-ctk")
    if program is None:
        raise Skipped("nvidia-ctk isn't installed")
    done = subprocess.run([program, "cdi", "generate", "--format=json"], capture_output=True, text=True, timeout=60)
    need(done.returncode == 0, done.stderr.strip()[-300:])
    document = json.loads(done.stdout)
    parts = [
        document["containerEdits"],
        *(each["containerEdits"] for each in document["devices"] if each["name"] == "0"),
    ]
    theirs = {entry["path"] for part in parts for entry in part.get("deviceNodes", ())}
    files = {Path(entry["containerPath"]).name for part in parts for entry in part.get("mounts", ())}
    mine = edits(place.root, Wanted(frozenset(Capability), limited=False))
    ours = {node.container for node in mine.nodes}
    compute = {path for path in theirs if Path(path).name.startswith("nvidia") and "modeset" not in path}
    need(compute <= ours, f"device nodes that the agent leaves out: {sorted(compute - ours)}")
    left = sorted(files - {Path(mount.container).name for mount in mine.mounts})
    return {"nodes": len(theirs), "files": len(files), "left_out": " ".join(left) or "none"}


def bundle(place: Place, folder: Path, inside: "dict[str, Any]", given: cdi.Edits, variables: dict[str, str]) -> None:
    """Write the bundle of a container whose program fills a GPU by cuMemAlloc."""
    binds = dict.fromkeys([*HOST, str(place.root), str(Path(sys.base_prefix).resolve()), str(place.libvgpu)])
    mounts: list[dict[str, Any]] = [
        {"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]}
        for path in binds
        if Path(path).exists()
    ]
    mounts += [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755", "nosuid"]},
    ]
    mounts += [
        {
            "destination": mount.container,
            "type": "bind",
            "source": mount.host,
            "options": ["bind", "rw" if mount.writable else "ro"],
        }
        for mount in given.mounts
        if not mount.container.startswith(HOST)  # the host's own folders are there already
    ]
    devices = []
    for node in given.nodes:
        number = Path(node.host).stat().st_rdev
        device = {"path": node.container, "type": "c", "major": os.major(number), "minor": os.minor(number)}
        devices.append(device | {"fileMode": 0o666})
    variables = {"PATH": os.environ["PATH"], **given.env, **variables}
    document: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": inside["readonly"]},
        "process": {
            "user": {"uid": inside["uid"], "gid": inside["uid"]},
            "args": [sys.executable, "-m", "gpucheck", "child", "fill", "cuMemAlloc"],
            "env": [f"{name}={value}" for name, value in variables.items()],
            "cwd": str(place.root),
            "noNewPrivileges": True,
        },
        "mounts": mounts,
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", *inside["namespaces"])],
            "devices": devices,
            "resources": {"devices": [{"allow": True, "access": "rwm"}]},
        },
    }
    if inside["namespaces"]:
        mapping = [{"containerID": 0, "hostID": FIRST_ID, "size": 65536}]
        document["linux"] |= {"uidMappings": mapping, "gidMappings": mapping}
    root = folder / "rootfs"
    root.mkdir()
    if inside["namespaces"]:
        os.chown(root, FIRST_ID, FIRST_ID)
    (folder / "config.json").write_text(json.dumps(document))


CONTAINERS: Final = {
    "container": {"uid": 0, "readonly": False, "namespaces": ()},
    "container, not root": {"uid": NOBODY, "readonly": False, "namespaces": ()},
    "container, read-only root": {"uid": NOBODY, "readonly": True, "namespaces": ()},
    "container, user namespace": {"uid": 0, "readonly": False, "namespaces": ("user",)},
}


def a_container(name: str) -> Callable[[Place], Figures]:
    """Make the question whether a limit holds in a container of runc with the node agent's edits."""

    def ask(place: Place) -> Figures:
        program = shutil.which("runc")
        if program is None or os.geteuid():
            raise Skipped("needs root and runc")
        with container(place, memory=LIMIT) as mine, tempfile.TemporaryDirectory(prefix="gpucheck-") as place_of_bundle:
            for path, mode in ((mine.folder, 0o755), (mine.folder / "usage", 0o666), (Path(place_of_bundle), 0o755)):
                path.chmod(mode)
            variables = mine.environment() | {key: os.environ[key] for key in ("LD_LIBRARY_PATH",) if key in os.environ}
            bundle(place, Path(place_of_bundle), CONTAINERS[name], edits(mine.folder), variables)
            command = [
                program,
                "--root",
                f"{place_of_bundle}/state",
                "run",
                "-b",
                place_of_bundle,
                f"gpucheck-{os.getpid()}",
            ]
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
        need(done.returncode == 0, (done.stderr or done.stdout).strip()[-400:])
        told = json.loads(done.stdout.splitlines()[-1])
        need(told["status"] == OUT_OF_MEMORY, f"ended with {told['status']} after {told['had'] // MIB} MiB")
        need(told["had"] <= LIMIT, f"{told['had'] // MIB} MiB were had under 4096")
        return {"had_mib": told["had"] // MIB}

    return ask


NODE_STEPS: Final = (
    Step("probe", probe),
    Step("nvidia-ctk", toolkit),
    *(Step(name, a_container(name)) for name in CONTAINERS),
)
