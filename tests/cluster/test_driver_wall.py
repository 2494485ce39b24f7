"""The driver's own memory limits, on a node whose driver has them: they hold programs that bypass libvgpu."""

import base64
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import cgroups, nodes, settings, simulated, state
from demo import report
from demo.kube import Kube, wait_for
from tests.cluster.test_breach import OWN_LOADER, PATIENCE, PROBE, pod, samples
from unigpu import breaches, names, walls
from unigpu.units import MiB, to_bytes

NAMESPACE = "driver-wall"
SHARE, RAISED = 3072, 6144
CONTEXT = 420
"""MiB that a context may take: 417 on the cluster's L40S."""
PROMISED = 1.0
"""Seconds after which the driver's limit follows a changed one. A busy machine may take longer; the test prints it."""

LIMITS_OF = """
import ctypes, json, sys
nvml, handle = ctypes.CDLL("libnvidia-ml.so.1"), ctypes.c_void_p()
assert nvml.nvmlInit_v2() == 0
found = []
for group in map(str.strip, sys.stdin):
    for gpu in range(4):
        limits = (ctypes.c_uint64 * 4)(ctypes.cast(ctypes.c_char_p(group.encode()), ctypes.c_void_p).value)
        assert nvml.nvmlDeviceGetHandleByIndex_v2(gpu, ctypes.byref(handle)) == 0
        if nvml.nvmlDeviceGetMemoryLimits_v1(handle, limits) == 0:
            found.append([group, gpu, limits[1], limits[2]])
print(json.dumps(found))
"""


def recreate(layout: settings.Layout, *version: str) -> None:
    """Load another driver on every node; what programs had is gone, as their GPUs are."""
    known = state.load(layout)
    assert known is not None
    for node in known.nodes:
        wanted = ("--profile", known.settings.profile, "--gpus", str(known.settings.gpus), *version)
        folder = str(nodes.simulator_folder(layout, node))
        subprocess.run([simulated.command(), "create", "--force", "--dir", folder, *wanted], check=True)


def standing(kube: Kube) -> walls.Walls | None:
    (node,) = kube.json("get", "nodes")["items"]
    text = node["metadata"]["annotations"].get(names.ANNOTATION_WALLS)
    return walls.load(text) if text is not None else None


@pytest.fixture
def namespace(cluster: settings.Layout, kube: Kube) -> Iterator[str]:
    """A namespace, while the node's driver is of branch 615."""
    recreate(cluster, "--driver-version", "615.10")
    wait_for("the node has all walls", lambda: standing(kube) == walls.Walls(), PATIENCE, lambda: str(standing(kube)))
    kube.namespace(NAMESPACE)
    yield NAMESPACE
    kube.run("delete", "pods", "--all", "-n", NAMESPACE, "--grace-period=1", timeout=PATIENCE)
    wait_for("all pods are gone", lambda: not kube.items("pods", NAMESPACE), PATIENCE)
    recreate(cluster)
    wait_for("the node lacks the driver's", lambda: standing(kube) not in (None, walls.Walls()), PATIENCE)


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A program without a dynamic linker, with the simulated driver's code in it."""
    program = tmp_path_factory.mktemp("static") / "static"
    source = Path(__file__).with_name("programs") / "static.c"
    objects = sorted(
        str(file) for part in ("cuda", "state") for file in (settings.SIMULATOR / "simulator" / part).rglob("*.o")
    )
    flags = ("-static", "-s", "-O2", "-Wl,--gc-sections", f"-I{settings.ROOT}")
    subprocess.run(["cc", *flags, str(source), *objects, "-lpthread", "-o", str(program)], check=True)
    return gzip.compress(program.read_bytes())  # an object has 1 MiB at most


def static_pod(name: str, image: str, program: bytes) -> list[dict[str, Any]]:
    """The program's pod, and the object that carries the program into it."""
    unpack = "gunzip -c /program/static.gz > /tmp/static && chmod +x /tmp/static && exec /tmp/static"
    document = pod(name, image, ["sh", "-c", unpack], SHARE)
    document["spec"]["containers"][0]["volumeMounts"] = [{"name": "program", "mountPath": "/program"}]
    document["spec"]["volumes"] = [{"name": "program", "configMap": {"name": name}}]
    content = {"static.gz": base64.b64encode(program).decode()}
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "binaryData": content}, document]


def holds(kube: Kube, name: str) -> Any:
    return report.probe_output(kube, NAMESPACE, name)


def describe(kube: Kube, name: str) -> str:
    return kube.run("describe", "pod", "-n", NAMESPACE, name) + kube.run("logs", "-n", NAMESPACE, name)


def taken(kube: Kube, name: str) -> int | None:
    """MiB that the static program has."""
    lines = kube.run("logs", "-n", NAMESPACE, name, "--tail=1").split()
    return int(lines[-1]) if lines else None


def most(share: int) -> int:
    """MiB that the driver lets a share take."""
    return share + (breaches.tolerance(to_bytes(MiB(share)), 1) >> 20)


def limits_left(layout: settings.Layout) -> list[Any]:
    """Control groups of the cluster that have a limit, with GPU, soft and hard limit."""
    known = state.load(layout)
    assert known is not None
    top = cgroups.MOUNT / "memory" if (cgroups.MOUNT / "memory").is_dir() else cgroups.MOUNT
    folders = [str(folder) for folder in (top / cgroups.branch(layout).strip("/")).rglob("*") if folder.is_dir()]
    environment = {
        **os.environ,
        "UNIGPU_SIM_DIR": str(nodes.simulator_folder(layout, next(iter(known.nodes)))),
        "LD_LIBRARY_PATH": str(settings.SIMULATOR),
    }
    done = subprocess.run(
        [sys.executable, "-c", LIMITS_OF], input="\n".join(folders), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def test_programs_that_bypass_libvgpu_are_held_by_the_driver(
    cluster: settings.Layout,
    kube: Kube,
    probe_image: str,
    static: bytes,
    namespace: str,
    tell: Callable[[str], None],
) -> None:
    wait_for(
        "metrics say so",
        lambda: (
            {(labels["wall"], value) for labels, value in samples(kube, names.METRIC_NODE_WALL)}
            == {("libvgpu", 1.0), ("driver", 1.0), ("comparison", 1.0)}
        ),
        PATIENCE,
    )
    own_loader = OWN_LOADER.replace("--no-take --hold 13000", "--step 16")
    # Not by apply, which would write the program into an annotation too.
    for document in static_pod("static", probe_image, static):
        kube.run("create", "-n", namespace, "-f", "-", stdin=json.dumps(document))
    kube.apply([pod("cheat", probe_image, ["sh", "-c", own_loader], SHARE)], namespace)
    kube.apply([pod("honest", probe_image, [PROBE, "--step", "16", "--stay"], SHARE)], namespace)

    found = wait_for("the loader's", lambda: holds(kube, "cheat"), PATIENCE, lambda: describe(kube, "cheat"))["gpus"][0]
    tell(f"a loader of its own: sees {found['total_bytes'] >> 20} MiB, got {found['taken_mib']} of {SHARE} MiB")
    assert found["total_bytes"] > 20 << 30, "libvgpu was loaded"
    assert SHARE - CONTEXT <= found["taken_mib"] <= most(SHARE)
    honest = wait_for("the honest one", lambda: holds(kube, "honest"), PATIENCE, lambda: describe(kube, "honest"))
    assert honest["gpus"][0]["total_bytes"] == SHARE << 20
    assert honest["gpus"][0]["taken_mib"] <= SHARE

    got = wait_for("the static one", lambda: taken(kube, "static"), PATIENCE, lambda: describe(kube, "static"))
    tell(f"a static program: got {got} of {SHARE} MiB")
    assert SHARE - CONTEXT <= got <= most(SHARE)

    began = time.monotonic()
    kube.run("annotate", "pod", "static", "-n", namespace, f"{names.ANNOTATION_LIMITS}=memory={RAISED}Mi")
    wait_for("more", lambda: (taken(kube, "static") or 0) > most(SHARE), PATIENCE, lambda: describe(kube, "static"))
    tell(f"a raised limit: in force {time.monotonic() - began:.1f} s after the annotation; promised {PROMISED:.0f} s")
    got = wait_for(
        "all of it", lambda: now if (now := taken(kube, "static") or 0) > RAISED - CONTEXT else None, PATIENCE
    )
    assert got <= most(RAISED)
    assert limits_left(cluster), "there are limits while pods run"

    kube.run("delete", "pods", "--all", "-n", namespace, "--grace-period=1", timeout=PATIENCE)
    wait_for(
        "nothing is left on any group", lambda: not limits_left(cluster), PATIENCE, lambda: str(limits_left(cluster))
    )
