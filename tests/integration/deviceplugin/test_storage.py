"""Folders that can't be written, files that are damaged: said in words, in the way of nobody else, and passing."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.deviceplugin.conftest import Machine, one, until
from tests.integration.deviceplugin.test_agent import refusal
from unigpu import grants, policy

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
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

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
