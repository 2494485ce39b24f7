"""Anything may be killed at any moment: what runs stays as it is, and everything is mended by itself."""

import json
import struct
from pathlib import Path

from tests.integration.deviceplugin.conftest import NODE, Machine, one, until
from unigpu import names, policy


async def test_kubelet_restarts(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", main=one(0, 100))
    for _ in range(3):
        before = machine.kubelet.registrations
        await machine.kubelet.stop()
        await machine.kubelet.start()
        await until(lambda: machine.kubelet.registrations > before, "registered again")  # noqa: B023
        await machine.serving()
        await machine.kubelet.prestart(pod, "main")


async def test_a_restarted_kubelet_is_not_kept_waiting_for_the_next_poll(machine: Machine) -> None:
    """With polls an hour apart, only the end of the kubelet's stream and its new socket can lead to a registration."""
    machine.arguments = ["--kubelet-poll", "3600"]
    machine.run()
    await machine.serving()
    before = machine.kubelet.registrations
    await machine.kubelet.stop()
    await machine.kubelet.start()
    await until(lambda: machine.kubelet.registrations > before, "registered again")
    await machine.serving()


async def test_kubelet_is_away_for_a_while(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    await machine.kubelet.stop()
    (machine.kubelet.plugins / "kubelet.sock").unlink(missing_ok=True)
    (machine.kubelet.plugins / names.PLUGIN_SOCKET).unlink(missing_ok=True)
    await until(lambda: b"can't register" in machine.log.read_bytes(), "it was noticed")
    status, text = await machine.get("/readyz")
    assert (status, "isn't registered" in text) == (503, True)
    assert (await machine.get("/healthz"))[0] == 200
    await machine.kubelet.start()
    await machine.serving()
    await machine.answers("/readyz", 200)


async def test_our_socket_is_removed(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    before = machine.kubelet.registrations
    (machine.kubelet.plugins / names.PLUGIN_SOCKET).unlink()
    await until(lambda: machine.kubelet.registrations > before, "registered again")
    await machine.serving()
    pod = await machine.create("pod", main=one(0, 100))
    await machine.kubelet.prestart(pod, "main")


async def test_kubelet_drops_our_stream(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    before = machine.kubelet.registrations
    await machine.kubelet.drop_plugin()
    await until(lambda: machine.kubelet.registrations > before, "registered again")
    await machine.serving()


async def test_agent_is_killed_again_and_again(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    first = await machine.create("first", main=one(0, 20000))
    await machine.kubelet.prestart(first, "main")
    inode = (machine.folder(first) / "policy").stat().st_ino
    for number in range(3):
        machine.kill()
        await until(lambda: machine.kubelet.healthy == 0, "the kubelet has noticed")
        machine.run()
        await machine.serving()
        pod = await machine.create(f"pod{number}", main=one(1, 100))
        await machine.kubelet.prestart(pod, "main")
        assert (machine.folder(pod) / "policy").exists()
    # What it had granted before it was killed is still in its books.
    second = await machine.create("second", main=one(0, 20000))
    try:
        await machine.kubelet.prestart(second, "main")
    except Exception as error:
        assert "40000 MiB" in str(error)
    else:
        raise AssertionError("granted beyond the GPU")
    assert (machine.folder(first) / "policy").stat().st_ino == inode


async def test_pods_that_end_while_the_agent_is_away(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    gone = await machine.create("gone", main=one(0, 100))
    stays = await machine.create("stays", main=one(0, 100))
    for pod in (gone, stays):
        await machine.kubelet.prestart(pod, "main")
    machine.kill()
    await machine.remove(gone)
    half = machine.state / "containers" / "uid-of-nobody" / "main"
    half.mkdir(parents=True)
    (half / ".policy.tmp").write_bytes(b"half")
    machine.run()
    await until(lambda: not machine.folder(gone).parent.exists(), "the folder is gone")
    await until(lambda: not half.parent.exists(), "the half-made folder is gone")
    await until(lambda: len(machine.specs()) == 1, "one spec is left")
    assert machine.folder(stays).exists()


async def test_policy_that_was_half_written_is_made_whole(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", main=one(0, 100))
    await machine.kubelet.prestart(pod, "main")
    machine.kill()
    file = machine.folder(pod) / "policy"
    whole = file.read_bytes()
    with file.open("r+b") as opened:
        opened.seek(policy.SEQUENCE_OFFSET)
        opened.write(struct.pack("<I", 7))
        opened.seek(policy.GPUS_OFFSET)
        opened.write(b"x" * 100)
    machine.run()
    await until(lambda: file.read_bytes()[policy.SEQUENCE_OFFSET] == 8, "the next even sequence")
    assert policy.unpack(file.read_bytes()) == policy.unpack(whole)


async def test_api_server_away_at_start(machine: Machine) -> None:
    await machine.api.set_down(True)
    machine.run()
    await until(lambda: machine.kubelet.healthy == 64, "registered without an API server")
    await machine.api.set_down(False)
    await machine.serving()


async def test_node_object_is_made_again(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    await machine.api.delete("nodes", machine.api.node(NODE))
    await machine.api.put("nodes", {"metadata": {"name": NODE}, "status": {"capacity": {"cpu": "4"}}})
    await until(lambda: machine.node_capacity.get(names.RESOURCE_MEMORY) == "98304", "its resources are there again")


async def test_container_that_restarts_keeps_its_files(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", main=one(0, 100))
    await machine.kubelet.prestart(pod, "main")
    folder = machine.folder(pod)
    inodes = [(folder / name).stat().st_ino for name in ("policy", "usage")]
    with (folder / "usage").open("r+b") as file:
        file.seek(100_000)
        file.write(b"what was counted")
    await machine.kubelet.prestart(pod, "main")
    assert [(folder / name).stat().st_ino for name in ("policy", "usage")] == inodes
    assert b"what was counted" in (folder / "usage").read_bytes()

    grant = json.loads((folder / "grant.json").read_text())
    (folder / "grant.json").write_text(json.dumps({**grant, "boot": "an earlier one"}))
    await machine.kubelet.prestart(pod, "main")
    assert (folder / "usage").read_bytes() == bytes(len((folder / "usage").read_bytes()))


async def test_update_of_the_library(machine: Machine) -> None:
    machine.run()
    await machine.serving()
    pod = await machine.create("pod", main=one(0, 100))
    await machine.kubelet.prestart(pod, "main")
    assert machine.terminate() == 0
    await until(lambda: machine.kubelet.healthy == 0, "the kubelet has noticed")
    machine.image.write_bytes(b"libvgpu, second")
    machine.run()
    await machine.serving()
    await machine.kubelet.prestart(pod, "main")
    mounts, _ = machine.edits(pod)
    library = Path(mounts[names.CONTAINER_LIBRARY]["hostPath"])
    assert library.read_bytes() == b"libvgpu, second"  # noqa: ASYNC240
    assert library.parent == machine.state / "lib"
