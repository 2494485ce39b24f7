"""Options that several commands have in common."""

import argparse
from pathlib import Path
from typing import Any

import yaml

from unigpu import configured_dialects, errors
from unigpu.units import MAX_MEMORY, MiB
from webhook.translation.options import AliyunUnit, BareGpu, GpuKind, Options


def connection(parser: argparse.ArgumentParser) -> None:
    """Declare which cluster is asked."""
    group = parser.add_argument_group("cluster")
    group.add_argument(
        "--kubeconfig",
        default="",
        metavar="PATH",
        help="kubeconfig of the cluster (default: the pod's service account, else KUBECONFIG)",
    )
    group.add_argument("--context", default="", metavar="NAME", help="context of the kubeconfig, if not its current")


def namespace(parser: argparse.ArgumentParser, of: str = "namespace of the pod (default: the kubeconfig's)") -> None:
    """Declare the namespace."""
    parser.add_argument("-n", "--namespace", default="", metavar="NAME", help=of)


def system(parser: argparse.ArgumentParser, default: str) -> None:
    """Declare the namespace of unigpu's own parts."""
    parser.add_argument(
        "--system-namespace", default=default, metavar="NAME", help="namespace of unigpu itself (default: %(default)s)"
    )


def output(parser: argparse.ArgumentParser, *forms: str) -> None:
    """Declare the form of the output; the first form is the default."""
    parser.add_argument(
        "-o", "--output", choices=forms, default=forms[0], help="form of the output (default: %(default)s)"
    )


def refresh(parser: argparse.ArgumentParser) -> None:
    """Declare how often the output is refreshed."""
    parser.add_argument(
        "--interval",
        type=seconds,
        default=2.0,
        metavar="SECONDS",
        help="time between two refreshes; a large cluster is read less often (default: %(default)g)",
    )


def seconds(text: str) -> float:
    """Return a positive number of seconds. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def meaning(parser: argparse.ArgumentParser) -> None:
    """Add the cluster's choices that decide what vendors' fields mean: the chart's `dialects`."""
    parser.add_argument(
        "--values",
        metavar="FILE",
        help="values of the cluster's chart, as `helm get values --all` shows them; the options below come first",
    )
    standard = Options()
    parser.add_argument(
        "--aliyun-unit",
        choices=list(AliyunUnit),
        help=f"unit of aliyun.com/gpu-mem (default: {standard.aliyun_unit})",
    )
    parser.add_argument(
        "--bare-nvidia-gpu",
        choices=list(BareGpu),
        help=f"meaning of nvidia.com/gpu on its own (default: {standard.bare_gpu})",
    )
    for flag, of in (
        ("--volcano-memory-factor", "Volcano's memory"),
        ("--vgpu-manager-memory-factor", "vgpu-manager's"),
    ):
        parser.add_argument(flag, type=_positive, metavar="MIB", help=f"MiB in one unit of {of} (default: 1)")
    parser.add_argument("--context-memory", type=_positive, metavar="MIB", help="MiB that a CUDA context takes")
    parser.add_argument(
        "--vendor-resources",
        choices=["keep", "replace"],
        help="whether vendors' resources stay in the pod (default: keep)",
    )
    parser.add_argument(
        "--gpu-memory",
        type=_positive,
        metavar="MIB",
        help="MiB of each GPU of the cluster, for which whole GPUs and percentages count in unigpu.dev/memory",
    )


def choices(given: argparse.Namespace) -> Options:
    """Return the cluster's choices as the arguments and the values file say. Raises Malformed."""
    read = _values(given.values) if given.values else {}
    dialects = read.get("dialects") or {}
    unit = given.aliyun_unit or dialects.get("aliyunMemoryUnit") or AliyunUnit.GIB
    bare = given.bare_nvidia_gpu or dialects.get("bareNvidiaGpu") or BareGpu.WHOLE
    try:
        return Options(
            aliyun_unit=AliyunUnit(unit),
            bare_gpu=BareGpu(bare),
            opting_out=dialects.get("isolationOptOut", True) is not False,
            volcano_factor=int(given.volcano_memory_factor or dialects.get("volcanoMemoryFactor") or 1),
            vgpu_manager_factor=int(given.vgpu_manager_memory_factor or dialects.get("vgpuManagerMemoryFactor") or 1),
            context_memory=MiB(int(given.context_memory or dialects.get("contextMemory") or 0)),
            keep_vendors=(given.vendor_resources or dialects.get("vendorResources") or "keep") == "keep",
            published=bool((read.get("nodeAgent") or {}).get("publishVendorResources")),
            words=configured_dialects.load(
                configured_dialects.dump(dialects.get("additional"), dialects.get("hamiResourceNames"))
            ),
            gpus=(GpuKind("", MiB(given.gpu_memory)),) if given.gpu_memory else (),
        )
    except (ValueError, TypeError, errors.Malformed) as error:
        raise errors.Malformed(f"{given.values}: {error}") from error


def _values(path: str) -> dict[str, Any]:
    """Return the chart's values in a file. Raises Malformed."""
    try:
        found = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise errors.Malformed(f"{path}: {error}") from error
    parts = (found.get("dialects"), found.get("nodeAgent")) if isinstance(found, dict) else ("",)
    if not all(part is None or isinstance(part, dict) for part in parts):
        raise errors.Malformed(f"{path}: not the values of unigpu's chart")
    assert isinstance(found, dict)
    return found


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MAX_MEMORY):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
