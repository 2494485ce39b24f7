"""Which parts of NVIDIA's driver a container is handed, by the capabilities that its author asks for. No I/O.

Capabilities and what belongs to each follow NVIDIA's container toolkit:
https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
https://github.com/NVIDIA/libnvidia-container/blob/main/src/nvc_info.c
https://github.com/NVIDIA/nvidia-container-toolkit/blob/main/internal/discover/graphics.go
"""

import enum
import re
from dataclasses import dataclass
from pathlib import PurePosixPath


class Capability(enum.StrEnum):
    """A word of NVIDIA_DRIVER_CAPABILITIES."""

    COMPUTE = "compute"
    UTILITY = "utility"
    VIDEO = "video"
    GRAPHICS = "graphics"
    DISPLAY = "display"
    NGX = "ngx"
    COMPAT32 = "compat32"


class Part(enum.Enum):
    """Files and device nodes that are handed out together."""

    BASIC = enum.auto()
    """CUDA, NVML and their programs."""
    VIDEO = enum.auto()
    GRAPHICS = enum.auto()
    NGX = enum.auto()
    OPENCL = enum.auto()
    """A driver of its own, which libvgpu doesn't see."""
    COMPAT32 = enum.auto()
    """Libraries for programs of 32 bits, into which libvgpu can't be loaded."""


BASIC = frozenset({Capability.COMPUTE, Capability.UTILITY})
"""What every container gets: a share of a GPU is of no use without it."""
_ALL = "all"
_NEEDS = {
    Capability.VIDEO: Part.VIDEO,
    Capability.GRAPHICS: Part.GRAPHICS,
    Capability.DISPLAY: Part.GRAPHICS,
    Capability.NGX: Part.NGX,
    Capability.COMPAT32: Part.COMPAT32,
}
_PAST_LIMITS = frozenset({Part.OPENCL, Part.COMPAT32})
"""Parts by which a program would pass libvgpu by."""

_STEMS = {
    Part.BASIC: """
        cuda cudadebugger nvidia-ml nvidia-cfg nvidia-nscq nvidia-ptxjitcompiler nvidia-fatbinaryloader nvidia-nvvm
        nvidia-nvvm70 nvidia-gpucomp nvidia-compiler nvidia-allocator nvidia-sandboxutils nvidia-tileiras
        nvidia-pkcs11 nvidia-pkcs11-openssl3
    """,
    Part.OPENCL: "nvidia-opencl",
    Part.VIDEO: "nvcuvid nvidia-encode nvidia-opticalflow vdpau_nvidia",
    Part.GRAPHICS: """
        GLX_nvidia EGL_nvidia GLESv2_nvidia GLESv1_CM_nvidia glxserver_nvidia nvidia-eglcore nvidia-glcore nvidia-tls
        nvidia-glsi nvidia-fbc nvidia-ifr nvidia-rtcore nvidia-glvkspirv nvidia-cbl nvidia-egl-gbm nvidia-egl-wayland
        nvidia-egl-xcb nvidia-egl-xlib nvidia-vulkan-producer nvidia-wayland-client nvidia-present nvoptix
    """,
    Part.NGX: "nvidia-ngx",
}
_LIBRARIES = {f"lib{stem}": part for part, stems in _STEMS.items() for stem in stems.split()} | {
    "nvidia-drm_gbm": Part.GRAPHICS,
    "nvidia_drv": Part.GRAPHICS,
}
_LIBRARY = re.compile(r"([A-Za-z0-9_-]+)\.so(\.[0-9.]+)?")
_FOLDERS_32 = frozenset({"i386-linux-gnu", "lib32"})
_GRAPHICS_FOLDERS = frozenset({"vulkan", "glvnd", "egl", "X11", "xorg", "gbm"})

PROGRAMS = (
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
)
"""Below usr/bin; all of them are BASIC."""
FILES = {
    "vulkan/icd.d/nvidia_icd.json": Part.GRAPHICS,
    "vulkan/icd.d/nvidia_icd.x86_64.json": Part.GRAPHICS,
    "vulkan/icd.d/nvidia_icd.aarch64.json": Part.GRAPHICS,
    "vulkan/implicit_layer.d/nvidia_layers.json": Part.GRAPHICS,
    "glvnd/egl_vendor.d/10_nvidia.json": Part.GRAPHICS,
    "egl/egl_external_platform.d/10_nvidia_wayland.json": Part.GRAPHICS,
    "egl/egl_external_platform.d/15_nvidia_gbm.json": Part.GRAPHICS,
    "nvidia/nvoptix.bin": Part.GRAPHICS,
    "OpenCL/vendors/nvidia.icd": Part.OPENCL,
}
"""Data below usr/share or etc."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one container's author asks for, and what holds the container."""

    capabilities: frozenset[Capability] | None = None
    """None: the author doesn't say, so it is as the node does for all."""
    limited: bool = True
    """Whether libvgpu limits it."""


def capabilities(text: str) -> frozenset[Capability]:
    """Return the capabilities that a value of NVIDIA_DRIVER_CAPABILITIES names, BASIC always among them.

    Words that nobody knows ask for nothing.
    """
    words = {word.strip() for word in text.split(",")}
    return BASIC | {one for one in Capability if one in words or _ALL in words}


def parts(wanted: Wanted, default: frozenset[Capability]) -> frozenset[Part]:
    """Return the parts that a container gets. `default`: capabilities of one whose author doesn't say.

    What would pass a limit by is left to containers that have none; those get OpenCL, as NVIDIA counts it to compute.
    """
    asked = default if wanted.capabilities is None else wanted.capabilities
    found = {Part.BASIC, Part.OPENCL} | {part for capability, part in _NEEDS.items() if capability in asked}
    return frozenset(found - _PAST_LIMITS if wanted.limited else found)


def of_library(name: str) -> Part | None:
    """Return the part to which a library with this file name belongs; None: it isn't known as one of the driver's."""
    match = _LIBRARY.fullmatch(name)
    return _LIBRARIES.get(match[1]) if match else None


def of_file(path: PurePosixPath) -> Part:
    """Return the part to which a file belongs that NVIDIA's own list of the driver's files has."""
    folders = set(path.parts)
    if folders & _FOLDERS_32:
        return Part.COMPAT32
    if "OpenCL" in folders:
        return Part.OPENCL
    known = of_library(path.name)
    if known is not None:
        return known
    return Part.GRAPHICS if folders & _GRAPHICS_FOLDERS else Part.BASIC
