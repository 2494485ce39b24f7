"""CDI specs, as the container runtime reads them."""

import json
from pathlib import PurePosixPath

import pytest

from unigpu import cdi, errors, names
from unigpu.cdi import DeviceNode, Edits, Mount

FOLDER = PurePosixPath("/var/lib/unigpu/containers/uid/main")
OWN = cdi.container_edits(FOLDER)
MANAGED = cdi.common_edits(
    PurePosixPath("/lib/libvgpu-1.so"), PurePosixPath("/lib/ld.so.preload"), PurePosixPath("/lib/anchor")
)


def test_device_is_named_by_the_first_slot() -> None:
    found = cdi.device_names(["slot-0010", "slot-0002", "slot-0007"])
    assert found == ("unigpu.dev/vgpu=slot-0002", "unigpu.dev/driver=node")


def test_file_names() -> None:
    assert cdi.file_name("slot-0007") == "unigpu.dev-vgpu-slot-0007.json"
    assert cdi.slot_of("unigpu.dev-vgpu-slot-0007.json") == "slot-0007"


@pytest.mark.parametrize("name", ["nvidia.json", "unigpu.dev-vgpu-.json", ".unigpu.dev-vgpu-slot-0001.json.tmp"])
def test_files_of_others(name: str) -> None:
    assert cdi.slot_of(name) is None


def test_spec() -> None:
    edits = OWN.plus(
        Edits(
            mounts=(Mount("/sim/state", "/sim/state", writable=True, executable=False),),
            nodes=(DeviceNode("/dev/nvidia1", "/dev/nvidia1"), DeviceNode("/dev/nvidiactl", "/driver/dev/nvidiactl")),
            env={"A": "b=c"},
        )
    )
    document = json.loads(cdi.dump("slot-0001", edits))
    assert (document["cdiVersion"], document["kind"]) == ("0.5.0", "unigpu.dev/vgpu")
    (device,) = document["devices"]
    assert device["name"] == "slot-0001"
    assert device["containerEdits"] == {
        "env": ["A=b=c"],
        "deviceNodes": [
            {"path": "/dev/nvidia1", "permissions": "rw"},
            {"path": "/dev/nvidiactl", "hostPath": "/driver/dev/nvidiactl", "permissions": "rw"},
        ],
        "mounts": [
            {
                "hostPath": f"{FOLDER}/policy",
                "containerPath": names.CONTAINER_POLICY,
                "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
            },
            {
                "hostPath": f"{FOLDER}/usage",
                "containerPath": names.CONTAINER_USAGE,
                "options": ["bind", "rw", "nosuid", "nodev", "noexec"],
            },
            {
                "hostPath": "/sim/state",
                "containerPath": "/sim/state",
                "options": ["bind", "rw", "nosuid", "nodev", "noexec"],
            },
        ],
    }


def test_common_spec() -> None:
    document = json.loads(cdi.dump_common(MANAGED))
    assert cdi.COMMON_FILE == "unigpu.dev-driver.json"
    assert cdi.slot_of(cdi.COMMON_FILE) is None
    assert document["kind"] == "unigpu.dev/driver"
    (device,) = document["devices"]
    assert device["name"] == "node"
    assert device["containerEdits"] == {
        "env": ["UNIGPU_MANAGED=1", "NVIDIA_VISIBLE_DEVICES=void"],
        "deviceNodes": [],
        "mounts": [
            {
                "hostPath": "/lib/anchor",
                "containerPath": names.CONTAINER_ROOT,
                "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
            },
            {
                "hostPath": "/lib/libvgpu-1.so",
                "containerPath": names.CONTAINER_LIBRARY,
                "options": ["bind", "ro", "nosuid", "nodev"],
            },
            {
                "hostPath": "/lib/ld.so.preload",
                "containerPath": names.CONTAINER_PRELOAD,
                "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
            },
        ],
    }


def test_files_below_the_anchor_are_mounted_over_files_that_it_has() -> None:
    mounts = OWN.plus(MANAGED).mounts
    below = {mount.container for mount in mounts if mount.container.startswith(f"{names.CONTAINER_ROOT}/")}
    assert below == set(cdi.ANCHORED)
    assert {str(PurePosixPath(path).parent) for path in cdi.ANCHORED} == {names.CONTAINER_ROOT}


def test_the_later_environment_wins() -> None:
    both = Edits(env={"A": "1", "B": "1"}).plus(Edits(env={"B": "2"}))
    assert both.env == {"A": "1", "B": "2"}


def test_folder_of() -> None:
    assert cdi.folder_of(cdi.dump("slot-0001", OWN)) == FOLDER


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"devices":[]}', cdi.dump("slot-0001", Edits()), cdi.dump_common(MANAGED)]
)
def test_folder_of_a_foreign_spec(text: str) -> None:
    with pytest.raises(errors.Malformed):
        cdi.folder_of(text)
