"""Limits changed with kubectl and `kubectl unigpu limit`."""

import pytest

from tests.integration.cli.conftest import Cluster, manifest
from unigpu import names

FREE = (
    "container main: memory = 9216 MiB: GPU 0 (GPU-a) of node n has 8192 MiB free for this container "
    "(others have 8192 of 16384 MiB); accepted: up to 8192 MiB"
)


def test_a_change_with_kubectl(cluster: Cluster) -> None:
    done = cluster.annotate("mine", '{"main": {"memory": "8Gi", "cores": 10, "ceiling": 80, "policy": "soft"}}')
    assert done.returncode == 0, done.stderr
    assert cluster.limits("mine") == '{"main": {"memory": "8Gi", "cores": 10, "ceiling": 80, "policy": "soft"}}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memory=9Gi", FREE),
        (
            "cores=71",
            "container main: cores = 71 %: GPU 0 (GPU-a) of node n has 70 % of its compute time free for this "
            "container (others have 30 of 100 %); accepted: up to 70 %",
        ),
        ("memory=9 GB", "container main: memory = 9 GB: not a Kubernetes quantity; accepted: MiB on each"),
        ("ceiling=20", "container main: ceiling = 20: below the container's share of 30 %; accepted: 30 to 100"),
    ],
)
def test_a_change_that_is_refused_changes_nothing(cluster: Cluster, text: str, said: str) -> None:
    cluster.annotate("mine", "memory=5Gi")
    done = cluster.annotate("mine", text)
    assert done.returncode == 1
    assert f'admission webhook "protect.unigpu.dev" denied the request: {said}' in done.stderr
    assert cluster.limits("mine") == "memory=5Gi"


def test_a_change_of_anothers_pod(cluster: Cluster) -> None:
    done = cluster.annotate("mine", "memory=1Gi", "--as=reader")
    assert done.returncode == 1
    assert 'pods "mine" is forbidden: User "reader" cannot patch resource "pods"' in done.stderr
    assert cluster.limits("mine") is None


def test_nobody_but_unigpu_says_what_is_in_force(cluster: Cluster) -> None:
    done = cluster.kubectl("annotate", "pod", "mine", f"{names.ANNOTATION_LIMITS_APPLIED}={{}}")
    assert "annotation unigpu.dev/limits-applied = {}: only unigpu changes it, not admin" in done.stderr
    cluster.applied("mine", "{}")


def test_a_manifest_applied_again_keeps_the_limits(cluster: Cluster) -> None:
    cluster.annotate("mine", "memory=1Gi")
    for _ in range(2):
        cluster.apply(manifest("mine", 4))
    assert cluster.limits("mine") == "memory=1Gi"


def test_room_of_a_lowering_is_there_once_the_node_agent_says_so(cluster: Cluster) -> None:
    cluster.annotate("other", "memory=1Gi")
    assert cluster.annotate("mine", "memory=9Gi").returncode == 1
    cluster.applied("other", '{"main":{"held":{"GPU-a":7000},"memory":1024}}')
    assert "has 9384 MiB free" in cluster.annotate("mine", "memory=15Gi").stderr
    cluster.applied("other", '{"main":{"memory":1024}}')
    assert cluster.annotate("mine", "memory=15Gi").returncode == 0
    done = cluster.kubectl("annotate", "pod", "other", f"{names.ANNOTATION_LIMITS}-")
    assert "memory = 8192 MiB: GPU 0 (GPU-a) of node n has 1024 MiB free for this container" in done.stderr


def test_the_command(cluster: Cluster) -> None:
    done = cluster.unigpu("limit", "mine", "--memory=1Gi", "--cores=10", "--ceiling=80", "--policy=soft")
    assert (done.returncode, done.stdout) == (0, "main: 4096 MiB, 30 % (hard) → 1024 MiB, 10 % up to 80 % (soft)\n")
    assert cluster.limits("mine") == '{"main":{"ceiling":80,"cores":10,"memory":1024,"policy":"soft"}}'
    assert (
        "1024/16384    10 to 80 %  changed, not in force yet  default/mine"
        in cluster.unigpu("status", "-o", "wide").stdout
    )
    assert cluster.unigpu("limit", "mine").stdout.splitlines() == [
        "main: 1024 MiB, 10 % up to 80 % (soft), requested: 4096 MiB, 30 % (hard)",
        "not in force yet",
    ]
    done = cluster.unigpu("limit", "mine", "--memory=9Gi", "-n", "default")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"refused: {FREE}\n")
    done = cluster.unigpu("limit", "mine", "--reset")
    assert done.stdout == "main: 1024 MiB, 10 % up to 80 % (soft) → 4096 MiB, 30 % (hard)\n"
    assert cluster.limits("mine") is None
    assert cluster.unigpu("limit", "mine", "--reset").stdout == "nothing to change\n"
    done = cluster.unigpu("limit", "nobody", "--reset")
    assert (done.returncode, done.stderr) == (1, 'error: pods "nobody" not found\n')


def test_the_command_waits_until_the_limits_are_in_force(cluster: Cluster) -> None:
    done = cluster.unigpu("limit", "mine", "--memory=1Gi", "--wait", "--timeout=0.2")
    assert done.returncode == 1
    late = "error: not in force after 0.2 s, the pod is Pending"
    assert done.stderr == f"{late}\n"
    cluster.event("mine", names.EVENT_LIMITS_REFUSED, "limits stay as they are: main: no room")
    done = cluster.unigpu("limit", "mine", "--wait", "--timeout=0.2")
    assert done.stderr == f"{late}; the node agent's last refusal: limits stay as they are: main: no room\n"
    cluster.applied("mine", '{"main":{"held":{"GPU-a":3000},"memory":1024}}')
    done = cluster.unigpu("limit", "mine", "--memory=1Gi", "--wait")
    assert done.stdout.splitlines() == [
        "nothing to change",
        "in force",
        "main: has 3000 MiB of GPU-a in use, more than its limit: it can't allocate more until it frees some",
    ]
