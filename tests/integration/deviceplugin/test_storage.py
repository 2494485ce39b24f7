"""Folders that can't be written, files that are damaged: said in words, in the way of nobody else, and passing."""

import contextlib
import copy
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.deviceplugin.conftest import Machine, one, until
from tests.integration.deviceplugin.test_agent import refusal
from unigpu import grants, names, node_report, policy

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def fill(filler: Path) -> None:
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@root_only
async def test_cdi_folder_is_read_only_for_a_while(machine: Machine) -> None:
    with mounted(machine.cdi):
        machine.run()
        await machine.serving()
        gone = await machine.create("gone", main=one(0, 100))
        await machine.kubelet.prestart(gone, "main")
        remount(machine.cdi, "ro")

        pod = await machine.create("pod", main=one(1, 100))
        says = await refusal(machine, pod)
        assert says == f"unigpu: can't write {machine.cdi}/{machine_spec(machine, pod)}: Read-only file system"
        status, text = await machine.get("/readyz")
        assert (status, text) == (503, f"can't write {machine.cdi}: Read-only file system\n")
        page = (await machine.get("/metrics"))[1].splitlines()
        assert f"{names.METRIC_AGENT_READY} 0.0" in page
        assert f'{names.METRIC_AGENT_UNREADY}{{reason="{text.strip()}"}} 1.0' in page
        await machine.remove(gone)
        await until(lambda: "CDI spec not removed" in machine.log.read_text(), "the agent has noticed")
        assert (await machine.get("/healthz"))[0] == 200

        remount(machine.cdi, "rw")
        await machine.kubelet.prestart(pod, "main")
        await machine.answers("/readyz", 200)
        await until(lambda: len(machine.specs()) == 1, "the spec of the pod that is gone is removed")
        machine.kill()


def machine_spec(machine: Machine, pod: dict[str, Any]) -> str:
    return f"unigpu.dev-vgpu-{min(machine.kubelet.allocated[pod['metadata']['uid'], 'main'])}.json"


@root_only
async def test_disk_is_full_for_a_while(machine: Machine) -> None:
    with mounted(machine.state):
        machine.run()
        await machine.serving()
        filler = machine.state / "filler"
        fill(filler)
        pod = await machine.create("pod", main=one(1, 100))
        says = await refusal(machine, pod)
        assert says.startswith(tuple(f"unigpu: can't {verb} {machine.folder(pod)}" for verb in ("create", "write")))
        assert says.endswith(": No space left on device")
        status, text = await machine.get("/readyz")
        assert (status, text.split(":")[0]) == (503, f"can't write {machine.state}/containers")

        filler.unlink()
        await machine.kubelet.prestart(pod, "main")
        await machine.answers("/readyz", 200)
        machine.kill()


@root_only
async def test_cdi_folder_is_full_for_a_while(machine: Machine) -> None:
    with mounted(machine.cdi):
        machine.run()
        await machine.serving()
        fill(machine.cdi / "filler")
        pod = await machine.create("pod", main=one(1, 100))
        says = await refusal(machine, pod)
        assert says.startswith(f"unigpu: can't write {machine.cdi}/unigpu.dev-")
        assert says.endswith(": No space left on device")
        assert (await machine.get("/readyz"))[1].startswith(f"can't write {machine.cdi}: less than 1 MiB is free")

        (machine.cdi / "filler").unlink()
        await machine.kubelet.prestart(pod, "main")
        await machine.answers("/readyz", 200)
        machine.kill()


@root_only
async def test_state_folder_is_read_only_for_a_while(machine: Machine) -> None:
    """Limits that change then are in force afterwards, and what runs keeps those that it had."""
    with mounted(machine.state):
        machine.run()
        await machine.serving()
        runs = await machine.create("runs", main=one(0, 1000))
        await machine.kubelet.prestart(runs, "main")
        machine.kill()
        await until(lambda: machine.kubelet.healthy == 0, "the kubelet has noticed")
        remount(machine.state, "ro")
        machine.run()
        await until(lambda: machine.kubelet.healthy == 64, "slots")

        new = await machine.create("new", main=one(1, 100))
        says = await refusal(machine, new)
        assert says.startswith(f"unigpu: can't create {machine.folder(new)}")
        assert says.endswith(": Read-only file system")
        unready = f"can't write {machine.state}/containers: Read-only file system\n"
        # Until it has written the node object, it says that too.
        await machine.answers("/readyz", 503, unready)
        changed = copy.deepcopy(machine.api.objects["pods"]["default/runs"])
        changed["metadata"]["annotations"][names.ANNOTATION_LIMITS] = "memory=500Mi"
        await machine.api.put("pods", changed)
        await until(lambda: "policy not written" in machine.log.read_text(), "the agent has tried")
        file = machine.folder(runs) / grants.POLICY_FILE
        assert policy.unpack(file.read_bytes()).gpus[0].memory == 1000 << 20
        assert (await machine.get("/healthz"))[0] == 200

        remount(machine.state, "rw")
        await until(lambda: policy.unpack(file.read_bytes()).gpus[0].memory == 500 << 20, "the change is in force")
        await machine.kubelet.prestart(new, "main")
        await machine.answers("/readyz", 200)
        assert "Traceback" not in machine.log.read_text()
        assert "None" not in machine.log.read_text()
        machine.kill()


async def test_damaged_files_of_one_container_cost_that_container_only(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    damaged, whole = [await machine.create(name, main=one(gpu, 20000)) for gpu, name in enumerate(("damaged", "whole"))]
    for pod in (damaged, whole):
        await machine.kubelet.prestart(pod, "main")
    checkpoint = machine.kubelet.checkpoint.read_bytes()
    machine.kill()
    await until(lambda: machine.kubelet.healthy == 0, "the kubelet has noticed")
    (machine.folder(damaged) / grants.GRANT_FILE).write_text('{"version": 1, "shares": ' + "[" * 100_000)
    (machine.folder(damaged) / grants.POLICY_FILE).write_bytes(b"short")
    machine.kubelet.checkpoint.write_bytes(b"\xff")
    machine.run()
    await machine.serving()
    assert f"grant can't be read file={machine.folder(damaged)}/grant.json" in machine.log.read_text()
    await machine.answers("/readyz", 200)

    await until(lambda: "grant can't be restored" in machine.log.read_text(), "the agent has tried")
    assert f"can't read the kubelet's checkpoint {machine.kubelet.checkpoint}" in machine.log.read_text()

    machine.kubelet.checkpoint.write_bytes(checkpoint)
    await until(lambda: "grant restored" in machine.log.read_text(), "the grant is written again")
    assert grants.load((machine.folder(damaged) / grants.GRANT_FILE).read_text()).pod == "damaged"
    assert policy.unpack((machine.folder(damaged) / grants.POLICY_FILE).read_bytes()).gpus[0].memory == 20000 << 20
    third = await machine.create("third", main=one(0, 20000))
    assert "40000 MiB would be granted" in await refusal(machine, third)
    await machine.remove(whole)
    await until(lambda: not machine.folder(whole).exists(), "the other one is released")


async def test_a_usage_file_whose_permissions_were_taken_away_gets_them_back(machine: Machine) -> None:
    """The exporter reads it, and isn't root."""
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", main=one(1, 100))
    await machine.kubelet.prestart(pod, "main")
    file = machine.folder(pod) / grants.USAGE_FILE
    file.chmod(0)
    await until(lambda: file.stat().st_mode & 0o777 == 0o666, "every user can read and write it again")
    for path in (machine.state / node_report.REPORT_FILE, *machine.folder(pod).iterdir()):
        folders = [above for above in path.parents if above.is_relative_to(machine.state)]
        assert path.stat().st_mode & 0o004 and all(above.stat().st_mode & 0o005 == 0o005 for above in folders), path
