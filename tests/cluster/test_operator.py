"""The commands with which an operator looks at an installation, on a real one."""

import json
import subprocess
import sys

from cluster import settings
from demo.kube import Kube, wait_for
from unigpu import names

SURE = {
    "API server",
    "mutating webhook",
    "validating webhook",
    "webhook service",
    "certificate",
    "inventory",
    "capacity",
}
"""Checks that nothing which other tests do can disturb."""


def doctor(kube: Kube) -> dict[str, str]:
    """Run `kubectl unigpu doctor`; return the level of each check."""
    command = [sys.executable, "-m", "cli", "doctor", "--kubeconfig", str(kube.kubeconfig), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=settings.ROOT)
    document = json.loads(done.stdout)
    return {one["check"]: one["level"] for one in document["checks"]}


def test_helm_test_passes(kube: Kube) -> None:
    said = kube.run("test", "unigpu", "-n", names.SYSTEM_NAMESPACE, "--logs", program=kube.helm)
    assert "a pod of a vendor's: translated" in said
    assert "the annotation is dropped" in said


def test_doctor_finds_nothing_wrong(kube: Kube) -> None:
    def sound() -> bool:
        levels = doctor(kube)
        return levels.keys() >= SURE and all(levels[check] == "ok" for check in SURE)

    wait_for("doctor finds nothing wrong", sound, 60, lambda: str(doctor(kube)))
