"""A second device plugin on the node offers a vendor's resource: nobody gets a GPU of both.

The short form uses a name that no other test needs, because the kubelet offers 0 of it for five minutes afterwards;
`UNIGPU_SOAK=1` (`make check-second-plugin`) uses nvidia.com/gpu, and waits until nothing of it is left.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster import settings
from demo.kube import Kube, wait_for
from tests.cluster import harness
from tests.cluster.conftest import NAME
from tests.cluster.test_own_words import pod
from unigpu import names

NAMESPACE = "second"
PATIENCE = 120.0
FORGOTTEN = 480.0
"""For the kubelet to forget a device plugin that is gone."""
SOAK = bool(os.environ.get("UNIGPU_SOAK"))
LIMITS = {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "500"} if SOAK else {"volcano.sh/gpu-memory": "500"}
RESOURCE = next(iter(LIMITS))


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    kube.namespace(NAMESPACE)
    yield NAMESPACE
    kube.run("delete", "pods", "--all", "-n", NAMESPACE, "--grace-period=0", "--force", timeout=PATIENCE)


@contextlib.contextmanager
def second_plugin() -> Iterator[None]:
    """A real device plugin on the node, registered with its kubelet."""
    program = ("env", f"PYTHONPATH={settings.ROOT}", sys.executable)
    plugin = (*program, "-m", "tests.cluster.second_plugin", "--folder", names.KUBELET_PLUGINS)
    command = harness.command(NAME, "enter", "--node", "1", "--", *plugin, "--resource", RESOURCE)
    with subprocess.Popen(command, cwd=settings.ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "registered\n"
            yield
        finally:
            process.terminate()


def capacity(kube: Kube) -> dict[str, str]:
    (node,) = kube.json("get", "nodes")["items"]
    found: dict[str, str] = node["status"]["allocatable"]
    return found


def phase(kube: Kube, name: str, wanted: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = kube.json("get", "pod", name, "-n", NAMESPACE)
        return found if found["status"].get("phase") == wanted else None

    return wait_for(f"{name} is {wanted}", look, PATIENCE, lambda: kube.run("describe", "pod", name, "-n", NAMESPACE))


def test_a_gpu_is_never_given_twice(kube: Kube, namespace: str, tell: Callable[[str], None]) -> None:
    kube.apply([pod("before", LIMITS)], namespace)
    phase(kube, "before", "Running")
    with second_plugin():
        wait_for("the kubelet offers its devices", lambda: capacity(kube).get(RESOURCE) == "2", PATIENCE)
        kube.apply([pod("waiting", LIMITS), pod("alibaba", {"aliyun.com/gpu-mem": "1"})], namespace)
        phase(kube, "alibaba", "Running")
        events = ("get", "events", "-n", namespace, "--field-selector", "involvedObject.name=waiting")
        said = wait_for(
            "an event says why",
            lambda: [
                one["message"] for one in kube.json(*events)["items"] if "another device plugin" in one["message"]
            ],
            PATIENCE,
        )
        assert f"node offers {RESOURCE} by another device plugin" in said[0]
        assert kube.json("get", "pod", "waiting", "-n", namespace)["status"]["phase"] == "Pending"
        tell(f"event: {said[0]}")
        # What asks for nothing else is served by the second plugin, as before unigpu was there.
        assert kube.json("get", "pod", "before", "-n", namespace)["status"]["phase"] == "Running"
        given = kube.run("exec", "-n", namespace, "before", "--", "env")
        assert "SECOND_PLUGIN" not in given
    # The kubelet keeps the resource with an amount of 0 for five minutes, and the node agent then removes it.
    if SOAK:
        wait_for("nothing of the plugin is left", lambda: RESOURCE not in capacity(kube), FORGOTTEN)
        phase(kube, "waiting", "Running")
