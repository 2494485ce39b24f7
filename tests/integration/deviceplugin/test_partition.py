"""The network between a node and the API server is gone for a while: no packet comes through, and nobody says so."""

import copy
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.integration.deviceplugin.conftest import Machine, one, until
from unigpu import names, policy

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("nft") is None, reason="drops packets with nft, as root"
)


def nft(script: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)


@pytest.fixture
def part(machine: Machine) -> Iterator[Callable[[bool], None]]:
    """Takes the network to the API server away, or gives it back."""
    table, port = f"inet unigpu_test_{os.getpid()}", urlsplit(machine.api.url).port

    def do(away: bool) -> None:
        drop = f"tcp dport {port} drop; tcp sport {port} drop;" if away else ""
        chain = f"chain input {{\ntype filter hook input priority 0; {drop}\n}}\n"
        nft(f"table {table} {{}}\ndelete table {table}\ntable {table} {{\n{chain}}}")

    yield do
    nft(f"table {table} {{}}\ndelete table {table}")


async def test_limits_follow_when_the_network_is_back(machine: Machine, part: Callable[[bool], None]) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", main=one(0, 1000))
    await machine.kubelet.prestart(pod, "main")
    file = machine.folder(pod) / "policy"

    part(True)
    changed = copy.deepcopy(machine.api.objects["pods"]["default/pod"])
    changed["metadata"]["annotations"][names.ANNOTATION_LIMITS] = "memory=500Mi"
    await machine.api.put("pods", changed)
    await machine.answers("/readyz", 503)
    assert "the API server doesn't answer" in (await machine.get("/readyz"))[1]
    assert policy.unpack(file.read_bytes()).gpus[0].memory == 1000 << 20
    await machine.kubelet.prestart(pod, "main")  # what ran here starts again

    part(False)
    began = time.monotonic()
    await until(lambda: policy.unpack(file.read_bytes()).gpus[0].memory == 500 << 20, "the change is in force")
    print(f"\nlimits in force {time.monotonic() - began:.1f} s after the network's return")
    await machine.answers("/readyz", 200)
    assert "Traceback" not in machine.log.read_text()
