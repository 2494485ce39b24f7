"""What a container gets of a real driver besides CUDA, with and without NVIDIA's own list."""

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from deviceplugin.node import driver_files, nvidia_spec
from deviceplugin.node.driver import Real
from tests.unit.deviceplugin.test_driver import install
from unigpu import cdi, driver_parts, errors, names
from unigpu.driver_parts import Capability, Wanted
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid, MiB

FOLDER = "/usr/lib/x86_64-linux-gnu"
GPU = Gpu(GpuUuid("GPU-b"), 1, 3, "Test", MiB(1000), bus="00000000:0A:00.0")
VIDEO = Wanted(driver_parts.capabilities("video,compute"))
ALL = Wanted(frozenset(Capability))
UNLIMITED = Wanted(frozenset(Capability), limited=False)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node with all of a driver, GPU 3 at 0a:00.0."""
    install(tmp_path)
    libraries = tmp_path / FOLDER[1:]
    for name in (
        *("libnvcuvid", "libnvidia-encode", "libnvidia-ngx", "libnvidia-opencl", "libnvidia-eglcore", "libEGL_nvidia"),
        "vdpau/libvdpau_nvidia",
    ):
        (libraries / name).parent.mkdir(exist_ok=True)
        (libraries / f"{name}.so.575.64").touch()
        (libraries / f"{name}.so.1").symlink_to(f"{Path(name).name}.so.575.64")
    (libraries / "gbm").mkdir()
    (libraries / "gbm/nvidia-drm_gbm.so").symlink_to("../libnvidia-eglcore.so.1")
    put(tmp_path, "/usr/lib/i386-linux-gnu/libcuda.so.1")
    put(tmp_path, "/usr/share/vulkan/icd.d/nvidia_icd.json")
    put(tmp_path, "/etc/OpenCL/vendors/nvidia.icd")
    put(tmp_path, "/usr/bin/nvidia-cuda-mps-control")
    put(tmp_path, "/usr/bin/nvidia-cuda-mps-server")
    for node in ("nvidia-modeset", "dri/card1", "dri/renderD129"):
        put(tmp_path, f"/dev/{node}")
    (tmp_path / "dev/dri/by-path").mkdir()
    (tmp_path / "dev/dri/by-path/pci-0000:0a:00.0-card").symlink_to("../card1")
    (tmp_path / "dev/dri/by-path/pci-0000:0a:00.0-render").symlink_to("../renderD129")
    return tmp_path


def put(root: Path, path: str) -> None:
    (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
    (root / path[1:]).touch()


def made(root: Path, wanted: Wanted, default: str = "") -> tuple[cdi.Edits, cdi.Edits]:
    """What all containers get, and what this one gets besides."""
    real = Real(root, PurePosixPath("/"), driver_parts.capabilities(default))
    return real.common(), real.own([GPU], wanted)


def paths(edits: cdi.Edits) -> Mapping[str, str]:
    found = {mount.container: mount.host for mount in edits.mounts}
    assert len(found) == len(edits.mounts), "no path twice"
    return found


def test_a_container_that_asks_for_nothing_gets_what_all_get(node: Path) -> None:
    common, own = made(node, Wanted())
    assert own.mounts == ()
    assert [one.container for one in own.nodes] == ["/dev/nvidia3"]
    assert {"/usr/bin/nvidia-smi", "/usr/bin/nvidia-cuda-mps-control", "/usr/bin/nvidia-cuda-mps-server"} <= set(
        paths(common)
    )
    strange = ("cuvid", "encode", "ngx", "opencl", "egl", "EGL", "vdpau", "gbm", "vulkan", "OpenCL", "i386")
    assert not [path for path in paths(common) if any(word in path for word in strange)]


def test_video(node: Path) -> None:
    _, own = made(node, VIDEO)
    assert paths(own) == {
        f"{folder}/{name}": f"{FOLDER}/{host}.so.575.64"
        for folder in driver_files.CONTAINER_FOLDERS
        for host in ("libnvcuvid", "libnvidia-encode", "vdpau/libvdpau_nvidia")
        for name in (f"{host}.so.1", f"{host}.so.575.64")
    }
    assert [one.container for one in own.nodes] == ["/dev/nvidia3"]


def test_everything_but_what_would_pass_the_limits_by(node: Path) -> None:
    _, own = made(node, ALL)
    found = paths(own)
    assert f"{FOLDER}/libEGL_nvidia.so.1" in found and f"{FOLDER}/libnvidia-ngx.so.1" in found
    assert found[f"{FOLDER}/gbm/nvidia-drm_gbm.so"] == f"{FOLDER}/libnvidia-eglcore.so.575.64"
    assert "/usr/share/vulkan/icd.d/nvidia_icd.json" in found
    assert not [path for path in found if "opencl" in path.lower() or "i386" in path]
    assert [one.container for one in own.nodes] == [
        *("/dev/nvidia3", "/dev/nvidia-modeset", "/dev/dri/card1", "/dev/dri/renderD129")
    ]


def test_a_container_without_limits_gets_opencl_too(node: Path) -> None:
    _, own = made(node, UNLIMITED)
    found = paths(own)
    assert f"{FOLDER}/libnvidia-opencl.so.1" in found
    assert "/etc/OpenCL/vendors/nvidia.icd" in found
    assert "/usr/lib/i386-linux-gnu/libcuda.so.1" in found


def test_the_operators_default(node: Path) -> None:
    common, own = made(node, Wanted(), "compute,utility,video")
    assert f"{FOLDER}/libnvcuvid.so.1" in paths(common)
    assert own.mounts == ()
    _, own = made(node, ALL, "compute,utility,video")
    assert f"{FOLDER}/libnvcuvid.so.1" not in paths(own), "all have it already"


SPEC: dict[str, Any] = {
    "cdiVersion": "0.5.0",
    "kind": "nvidia.com/gpu",
    "devices": [
        {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia2"}, {"path": "/dev/dri/card0"}]}},
        {
            "name": "1",
            "containerEdits": {
                "deviceNodes": [{"path": "/dev/nvidia3"}, {"path": "/dev/dri/card7", "hostPath": "/dev/dri/card7"}]
            },
        },
        {
            "name": "all",
            "containerEdits": {
                "deviceNodes": [{"path": path} for path in ("/dev/nvidia2", "/dev/nvidia3", "/dev/dri/card7")]
            },
        },
    ],
    "containerEdits": {
        "env": ["NVIDIA_VISIBLE_DEVICES=void"],
        "deviceNodes": [{"path": "/dev/nvidiactl"}],
        "mounts": [
            {"hostPath": host, "containerPath": container, "options": ["ro"]}
            for host, container in [
                (f"{FOLDER}/libcuda.so.575.64", f"{FOLDER}/libcuda.so.575.64"),
                ("/opt/driver/lib/libnvidia-new.so.9", "/usr/lib64/libnvidia-new.so.9"),
                ("/opt/driver/lib/libnvidia-fbc.so.9", "/usr/lib64/libnvidia-fbc.so.9"),
                ("/opt/driver/lib/libnvidia-opencl.so.9", "/usr/lib64/libnvidia-opencl.so.9"),
                ("/opt/driver/share/xorg/nvidia_drv.so", "/usr/lib/xorg/modules/drivers/nvidia_drv.so"),
                ("/run/nvidia-persistenced/socket", "/run/nvidia-persistenced/socket"),
                ("/gone/libnvidia-tls.so.9", "/usr/lib64/libnvidia-tls.so.9"),
            ]
        ],
        "hooks": [{"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": ["x"]}],
    },
}


@pytest.fixture
def listed(node: Path) -> Path:
    """The same node with NVIDIA's own list, which knows more."""
    for item in SPEC["containerEdits"]["mounts"]:
        if not item["hostPath"].startswith(("/gone", FOLDER)):
            put(node, item["hostPath"])
    (node / "opt/driver/lib/libnvidia-fbc.so.1").symlink_to("libnvidia-fbc.so.9")
    put(node, "/dev/dri/card7")
    (node / "run/cdi").mkdir(parents=True)
    (node / "var").mkdir()
    (node / "var/run").symlink_to("/run")
    (node / "run/cdi/nvidia.yaml").write_text(yaml.safe_dump(SPEC))
    return node


def test_nvidias_own_list_adds_what_only_it_knows(listed: Path) -> None:
    common, own = made(listed, ALL)
    assert paths(common)[f"{FOLDER}/libnvidia-new.so.9"] == "/opt/driver/lib/libnvidia-new.so.9"
    assert paths(common)["/run/nvidia-persistenced/socket"] == "/run/nvidia-persistenced/socket"
    found = paths(own)
    assert found[f"{FOLDER}/libnvidia-fbc.so.1"] == found["/usr/lib64/libnvidia-fbc.so.9"]
    assert found["/usr/lib/xorg/modules/drivers/nvidia_drv.so"] == "/opt/driver/share/xorg/nvidia_drv.so"
    assert not [path for path in (*paths(common), *found) if "opencl" in path or "tls" in path]
    assert [one.host for one in own.nodes if "dri" in one.host] == ["/dev/dri/card7"]


def test_a_list_that_changes_is_read_again(listed: Path) -> None:
    real = Real(listed, PurePosixPath("/"))
    assert f"{FOLDER}/libnvidia-new.so.9" in paths(real.common())
    file = listed / "run/cdi/nvidia.yaml"
    file.write_text(json.dumps(SPEC | {"containerEdits": {}}))
    os.utime(file, ns=(1, 1))
    assert f"{FOLDER}/libnvidia-new.so.9" not in paths(real.common())


@pytest.mark.parametrize("text", ["", "kind: [", "kind: nvidia.com/gpu", '{"kind": "nvidia.com/gpu", "devices": 3}'])
def test_a_list_that_cant_be_read_costs_only_what_it_adds(
    listed: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (listed / "run/cdi/nvidia.yaml").write_text(text)
    common, own = made(listed, ALL)
    assert f"{FOLDER}/libcuda.so.1" in paths(common)
    assert f"{FOLDER}/libnvcuvid.so.1" in paths(own)
    assert "NVIDIA's CDI spec can't be read" in caplog.text


def test_a_spec_of_something_else() -> None:
    assert nvidia_spec.load("kind: unigpu.dev/vgpu") is None
    with pytest.raises(errors.Malformed, match="not an absolute path"):
        nvidia_spec.load(
            yaml.safe_dump(
                SPEC | {"containerEdits": {"mounts": [{"hostPath": "/a/../b", "containerPath": "/b"}]}},
            )
        )


def test_libraries_lie_where_the_machines_own_linker_looks(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_files, "CONTAINER_FOLDERS", names.CONTAINER_DRIVER_FOLDERS["aarch64"])
    common, _ = made(node, Wanted())
    folders = {str(PurePosixPath(path).parent) for path in paths(common) if "libcuda" in path}
    assert folders == {"/usr/lib/aarch64-linux-gnu", "/usr/lib64"}
