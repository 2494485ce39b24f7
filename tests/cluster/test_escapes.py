"""Ways past a limit, tried in a container on the real cluster: each is prevented, or noticed with event and metric.

More of them: copies of the dynamic linker and strangers in `test_breach.py`, static programs in `test_driver_wall.py`,
annotations in `test_forgeries.py`, the policy file in `test_from_inside.py`.
"""

import json
import time
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from demo.kube import CommandFailed, Kube, wait_for
from tests.cluster.test_breach import (
    PATIENCE,
    PROBE,
    PROMISED,
    Tell,
    describe,
    foreign,
    holds,
    namespace,
    pod,
    published,
    samples,
    told,
)
from unigpu import names

__all__ = ["namespace"]  # a fixture

MIB = 3300
LOOK = f"exec {PROBE} --no-take --stay"
PREVENTED = {
    "the folder renamed": f"! mv {names.CONTAINER_ROOT} /usr/local/gone && {LOOK}",
    "the folder removed": f"! rm -rf {names.CONTAINER_ROOT} && {LOOK}",
    "the policy overwritten": f"! (echo > {names.CONTAINER_POLICY}) && {LOOK}",
    "the policy replaced": f"touch /tmp/forged && ! mv /tmp/forged {names.CONTAINER_POLICY} && {LOOK}",
    "the preload file emptied": f"! (: > {names.CONTAINER_PRELOAD}) && {LOOK}",
    "the preload file removed": f"! rm -f {names.CONTAINER_PRELOAD} && {LOOK}",
    "the mounts taken away": f"! umount {names.CONTAINER_POLICY} && {LOOK}",
    "variables": f"export LD_PRELOAD= {names.ENV_MANAGED}= {names.ENV_TRIAL_POLICY}=/tmp/none && {LOOK}",
    "no variables": f"exec env -i {names.ENV_SIM_DIR}=${names.ENV_SIM_DIR} {PROBE} --no-take --stay",
    "a higher limit in the environment": f"export {names.ENV_MEMORY_LIMIT}_0=99g && {LOOK}",
}
"""Shell commands as root. Each fails where it says `!`, and then a program tells which limit it sees."""
FORGED_USAGE = (
    f"{PROBE} --no-take --hold 2600 --stay > /tmp/first & until grep -q gpus /tmp/first; do sleep 0.1; done; "
    f"dd if=/dev/zero of={names.CONTAINER_USAGE} bs=1 seek=128 count=8 conv=notrunc && "
    f"exec {PROBE} --no-take --hold 2600 --stay"
)
"""The container's total is set back to zero after its first allocation."""
GROWN_USAGE = (
    f"dd if=/dev/zero of={names.CONTAINER_USAGE} bs=1048576 count=64 seek=1 conv=notrunc; "
    f"until [ $(stat -c %s {names.CONTAINER_USAGE}) -le 1048576 ]; do sleep 0.1; done; {LOOK}"
)
"""The file is made 65 MiB long, and the program starts once it was cut back."""


def as_root(document: dict[str, Any]) -> dict[str, Any]:
    """The pod with user 0, and the capabilities that a container has where nobody takes any away."""
    document["spec"]["containers"][0]["securityContext"] = {"runAsUser": 0}
    return document


@pytest.mark.parametrize("way", PREVENTED)
def test_prevented(kube: Kube, probe_image: str, namespace: str, way: str) -> None:
    kube.apply([as_root(pod("tries", probe_image, ["sh", "-c", PREVENTED[way]], MIB))], namespace)
    seen = wait_for("the program runs", lambda: holds(kube, "tries"), PATIENCE, lambda: describe(kube, "tries"))
    assert [gpu["total_bytes"] for gpu in seen["gpus"]] == [MIB << 20]


@pytest.mark.parametrize(
    "path",
    [
        *(f"/proc/self/root{path}" for path in (names.CONTAINER_POLICY, names.CONTAINER_PRELOAD)),
        *("/proc/1/root/etc", names.CONTAINER_ROOT, "/usr/local", "/etc/./ld.so.preload", "/etc"),
    ],
)
def test_refused_at_admission(kube: Kube, probe_image: str, namespace: str, path: str) -> None:
    document: dict[str, Any] = pod("tries", probe_image, ["sh", "-c", LOOK], MIB)
    document["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": path}]
    document["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
    with pytest.raises(CommandFailed, match="use of GPUs"):
        kube.apply([document], namespace)


def test_usage_that_is_written_down_is_noticed(kube: Kube, probe_image: str, namespace: str, tell: Tell) -> None:
    kube.apply([pod("forges", probe_image, ["sh", "-c", FORGED_USAGE], MIB)], namespace)
    wait_for("both programs hold memory", lambda: sum(foreign(kube)) > 1000, PATIENCE, lambda: describe(kube, "forges"))
    began = time.monotonic()
    texts = wait_for(
        "an event says so",
        lambda: told(kube, names.EVENT_BREACH, "Pod"),
        PATIENCE,
        lambda: json.dumps(told(kube, names.EVENT_BREACH, "Node")),
    )
    wait_for("a metric says so", lambda: published(kube), PATIENCE)
    tell(f"forged usage: event and metric within {time.monotonic() - began:.1f} s; promised {PROMISED:.0f} s")
    assert any(f"and {MIB} MiB are granted" in text for text in texts)
    assert published(kube) == {("forges", "memory")}


def cuts(kube: Kube) -> float:
    """How often the node agents have cut back a usage file."""
    agents = kube.items("pods", names.SYSTEM_NAMESPACE, f"{names.LABEL_COMPONENT}=node-agent")
    folder = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/pods"
    pages = [
        kube.raw(f"{folder}/{agent['metadata']['name']}:{names.PORT_PLUGIN_HEALTH}/proxy/metrics") for agent in agents
    ]
    return sum(
        sample.value
        for page in pages
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == names.METRIC_AGENT_USAGE_FILE_CUTS
    )


def test_a_usage_file_that_takes_the_disk_is_noticed(kube: Kube, probe_image: str, namespace: str, tell: Tell) -> None:
    before = cuts(kube)
    kube.apply([pod("grows", probe_image, ["sh", "-c", GROWN_USAGE], MIB)], namespace)
    seen = wait_for("the program runs", lambda: holds(kube, "grows"), PATIENCE, lambda: describe(kube, "grows"))
    began = time.monotonic()
    texts = wait_for("an event says so", lambda: told(kube, names.EVENT_USAGE_FILE_CUT, "Pod"), PATIENCE)
    tell(f"usage file of 64 MiB: event within {time.monotonic() - began:.1f} s; promised {PROMISED:.0f} s")
    assert "container main made its usage file take" in texts[0]
    assert cuts(kube) > before
    assert [gpu["total_bytes"] for gpu in seen["gpus"]] == [MIB << 20]


def test_a_container_cannot_hide_from_an_exporter_that_is_not_root(
    kube: Kube, probe_image: str, namespace: str
) -> None:
    command = f"chmod 0 {names.CONTAINER_USAGE} && exec {PROBE} --no-take --hold 500 --stay"
    kube.apply([as_root(pod("hides", probe_image, ["sh", "-c", command], MIB))], namespace)
    wait_for("the program runs", lambda: holds(kube, "hides"), PATIENCE, lambda: describe(kube, "hides"))

    def used() -> list[float]:
        found = samples(kube, names.METRIC_MEMORY_USED)
        return [value for labels, value in found if labels["pod"] == "hides" and value >= 500 << 20]

    wait_for("its memory is on the page", used, PATIENCE)
    (agent, *_) = kube.items("pods", names.SYSTEM_NAMESPACE, f"{names.LABEL_COMPONENT}=node-agent")
    exporter = next(one for one in agent["spec"]["containers"] if one["name"] == "exporter")
    assert exporter["securityContext"]["runAsNonRoot"]
