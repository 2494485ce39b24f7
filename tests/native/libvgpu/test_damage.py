"""Files that are missing, torn, foreign or unusable: memory is refused with one clear line, and the program lives."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.libvgpu.machine import PROBE, Machine, mib
from unigpu import names, policy, usage

Damage = Callable[[Machine], object]


def refused(machine: Machine, *command: str | Path, **environment: str) -> str:
    """Runs the probe, which must end by itself with the driver's refusal; what else was said on stderr."""
    done = machine.attempt(*command, PROBE, CUDA_VISIBLE_DEVICES="0", **environment)
    assert done.returncode == 1, f"{done.returncode} {done.stdout} {done.stderr}"
    assert done.stdout == ""
    *lines, last = done.stderr.splitlines()
    assert last == "probe: the driver answers CUDA_ERROR_OUT_OF_MEMORY"
    assert len(lines) == 1, lines
    return lines[0]


def header(**changed: int) -> Damage:
    """Writes other numbers into the policy's first words."""
    words = {"magic": 0, "version": 4, "size": 8, "sequence": 12, "count": 16}

    def write(machine: Machine) -> None:
        content = bytearray(machine.policy_file.read_bytes())
        for name, value in changed.items():
            struct.pack_into("<I", content, words[name], value)
        machine.policy_file.write_bytes(content)

    return write


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(lambda machine: machine.policy_file.unlink(), "no policy can be read", id="missing"),
        pytest.param(lambda machine: os.truncate(machine.policy_file, 0), "no policy can be read", id="empty"),
        pytest.param(lambda machine: os.truncate(machine.policy_file, 4095), "no policy can be read", id="cut"),
        pytest.param(header(sequence=3), "half written", id="torn"),
        pytest.param(header(version=policy.VERSION + 1), "not of version 1", id="version"),
        pytest.param(header(magic=0), "not of version 1", id="magic"),
        pytest.param(header(count=17), "not of version 1", id="count"),
    ],
)
def test_a_damaged_policy_fails_closed(machine: Machine, damage: Damage, says: str) -> None:
    trial = machine.trial((0, 3000))
    damage(machine)
    assert says in refused(machine, **trial)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(lambda file: file.mkdir(), "can't be used", id="folder"),
        pytest.param(lambda file: file.symlink_to("/nowhere/at/all"), "can't be used", id="nowhere"),
        pytest.param(lambda file: file.write_bytes(b"XXXX" + bytes(usage.SIZE)), "not of version 1", id="magic"),
        pytest.param(
            lambda file: file.write_bytes(struct.pack("<II", usage.MAGIC, 2).ljust(usage.SIZE, b"\0")),
            "not of version 1",
            id="version",
        ),
        pytest.param(lambda file: os.mkfifo(file), "can't be used", id="pipe"),
    ],
)
def test_an_unusable_usage_file_fails_closed(machine: Machine, damage: Callable[[Path], object], says: str) -> None:
    trial = machine.trial((0, 3000))
    damage(machine.usage_file)
    assert says in refused(machine, **trial)


def test_an_unusable_usage_file_doesn_t_matter_where_nothing_is_enforced(machine: Machine) -> None:
    trial = machine.trial((0, 3000), enforced=False)
    machine.usage_file.mkdir()
    (gpu,) = machine.probe("--step", "1024", CUDA_VISIBLE_DEVICES="0", **trial)
    assert int(gpu["taken_mib"]) > 20000


@pytest.mark.parametrize("size", [0, 1, 4096, usage.SIZE - 1])
def test_a_usage_file_that_is_too_short_is_made_whole(machine: Machine, size: int) -> None:
    trial = machine.trial((0, 3000))
    machine.usage_file.write_bytes(bytes(size))
    (gpu,) = machine.probe("--no-take", CUDA_VISIBLE_DEVICES="0", **trial)
    assert gpu["total_bytes"] == mib(3000)
    assert machine.usage_file.stat().st_size == usage.SIZE


@pytest.mark.parametrize("noise", [b"\xff", b"\x5a"])
def test_nonsense_in_the_usage_file_neither_crashes_nor_loosens(machine: Machine, noise: bytes) -> None:
    trial = machine.trial((0, 3000))
    head = struct.pack("<II", usage.MAGIC, usage.VERSION)
    machine.usage_file.write_bytes(head + noise * (usage.SIZE - len(head)))
    done = machine.attempt(PROBE, CUDA_VISIBLE_DEVICES="0", **trial)
    assert done.returncode in (0, 1), done
    assert "CUDA_ERROR_OUT_OF_MEMORY" in done.stdout + done.stderr


def test_a_full_disk(machine: Machine) -> None:
    folder = machine.folder / "full"
    folder.mkdir()
    mount = f'mount -t tmpfs -o size=64k none {folder} && exec "$0"'
    trial = machine.trial((0, 3000)) | {names.ENV_TRIAL_USAGE: str(folder / "usage")}
    assert "No space left" in refused(machine, "unshare", "--mount", "--map-root-user", "sh", "-c", mount, **trial)


def test_a_managed_container_without_its_files_fails_closed(machine: Machine) -> None:
    assert "no policy can be read from /usr/local/unigpu/policy" in refused(machine, UNIGPU_MANAGED="1")


def test_a_managed_container_heeds_no_other_files(machine: Machine) -> None:
    trial = machine.trial((0, 3000)) | {"CUDA_DEVICE_MEMORY_LIMIT": "5g"}
    assert "/usr/local/unigpu/policy" in refused(machine, UNIGPU_MANAGED="1", **trial)


def test_a_card_that_was_not_given_is_refused(machine: Machine) -> None:
    trial = machine.trial((1, 3000))
    assert "not given" in refused(machine, **trial)


@pytest.mark.parametrize("value", ["lots", "3x", "-1", "99999999999999999999", "300mb!"])
def test_a_limit_that_is_no_size_is_named(machine: Machine, value: str) -> None:
    done = machine.attempt(
        PROBE, "--no-take", CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_MEMORY_LIMIT="3g", CUDA_DEVICE_MEMORY_LIMIT_0=value
    )
    assert f"CUDA_DEVICE_MEMORY_LIMIT_0 = {value}: not a size, so GPU memory is refused" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("value", "limit"),
    [("1024m", mib(1024)), ("1g", mib(1024)), ("2GiB", mib(2048)), ("1500MB", mib(1500)), ("1073741824", mib(1024))],
)
def test_sizes(machine: Machine, value: str, limit: int) -> None:
    (gpu,) = machine.probe("--no-take", CUDA_VISIBLE_DEVICES="0", CUDA_DEVICE_MEMORY_LIMIT=value)
    assert gpu["total_bytes"] == limit


def test_messages_can_be_silenced(machine: Machine) -> None:
    done = machine.attempt(PROBE, UNIGPU_MANAGED="1", UNIGPU_LOG="none", CUDA_VISIBLE_DEVICES="0")
    assert done.stderr.splitlines() == ["probe: the driver answers CUDA_ERROR_OUT_OF_MEMORY"]


@pytest.mark.parametrize("command", [["/bin/true"], ["/bin/sh", "-c", "echo hello | cat"], ["ls", "/"]])
def test_programs_without_gpus_are_left_alone(machine: Machine, command: list[str]) -> None:
    plain = machine.without_libvgpu().attempt(*command)
    done = machine.attempt(*command, UNIGPU_MANAGED="1")
    assert (done.returncode, done.stdout, done.stderr) == (plain.returncode, plain.stdout, plain.stderr)
