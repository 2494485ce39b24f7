"""Which parts of the driver a container gets, by what its author asks for."""

from pathlib import PurePosixPath

import pytest

from unigpu import driver_parts
from unigpu.driver_parts import BASIC, Capability, Part, Wanted


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("compute,utility", set()),
        ("utility", set()),
        ("", set()),
        ("video", {Capability.VIDEO}),
        (" compute , graphics,nonsense", {Capability.GRAPHICS}),
        ("all", set(Capability)),
        ("All", set()),
    ],
)
def test_capabilities(text: str, more: set[Capability]) -> None:
    assert driver_parts.capabilities(text) == BASIC | more


ALL = frozenset(Capability)


@pytest.mark.parametrize(
    ("wanted", "default", "parts"),
    [
        (Wanted(), BASIC, {Part.BASIC}),
        (Wanted(), BASIC | {Capability.VIDEO}, {Part.BASIC, Part.VIDEO}),
        (Wanted(BASIC), BASIC | {Capability.VIDEO}, {Part.BASIC}),
        (Wanted(frozenset({Capability.DISPLAY})), BASIC, {Part.BASIC, Part.GRAPHICS}),
        (Wanted(ALL), BASIC, {Part.BASIC, Part.VIDEO, Part.GRAPHICS, Part.NGX}),
        (Wanted(ALL, limited=False), BASIC, set(Part)),
        (Wanted(limited=False), BASIC, {Part.BASIC, Part.OPENCL}),
    ],
)
def test_parts(wanted: Wanted, default: frozenset[Capability], parts: set[Part]) -> None:
    assert driver_parts.parts(wanted, default) == parts


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("libcuda.so.1", Part.BASIC),
        ("libcuda.so", Part.BASIC),
        ("libnvidia-ml.so.575.57.08", Part.BASIC),
        ("libnvcuvid.so.1", Part.VIDEO),
        ("libGLX_nvidia.so.0", Part.GRAPHICS),
        ("nvidia-drm_gbm.so", Part.GRAPHICS),
        ("libnvidia-ngx.so.1", Part.NGX),
        ("libnvidia-opencl.so.1", Part.OPENCL),
        ("libOpenCL.so.1", None),
        ("libc.so.6", None),
        ("libcuda.so.1.bak", None),
        ("libcuda_extra.so.1", None),
    ],
)
def test_libraries(name: str, part: Part | None) -> None:
    assert driver_parts.of_library(name) is part


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/usr/lib/x86_64-linux-gnu/libnvidia-of-tomorrow.so.700.1", Part.BASIC),
        ("/usr/lib/i386-linux-gnu/libcuda.so.575.57.08", Part.COMPAT32),
        ("/etc/OpenCL/vendors/nvidia.icd", Part.OPENCL),
        ("/usr/share/vulkan/icd.d/nvidia_icd.json", Part.GRAPHICS),
        ("/usr/share/X11/xorg.conf.d/10-nvidia.conf", Part.GRAPHICS),
        ("/usr/lib/x86_64-linux-gnu/nvidia/xorg/nvidia_drv.so", Part.GRAPHICS),
        ("/usr/lib/x86_64-linux-gnu/vdpau/libvdpau_nvidia.so.575.57.08", Part.VIDEO),
        ("/usr/bin/nvidia-smi", Part.BASIC),
        ("/run/nvidia-persistenced/socket", Part.BASIC),
    ],
)
def test_files_of_nvidias_own_list(path: str, part: Part) -> None:
    assert driver_parts.of_file(PurePosixPath(path)) is part
