"""Checks of what users have: quotas and limit ranges on vendors' names, and pods. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from cli import gpu_fields, text
from cli.doctor.check import Finding, Unread, fail, ok, unread, warn
from cli.doctor.evidence import Evidence, Json, name, some
from unigpu import names

_PREFIXES = ("requests.", "limits.")
_KINDS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def checks(found: Evidence) -> Iterator[Finding]:
    """Yield the findings."""
    yield _quotas(found.quotas)
    yield _ranges(found.limit_ranges)
    if isinstance(found.pods, Unread):
        yield unread("pods", found.pods)
        return
    yield _skipped(found.pods.skipped)
    yield _overbooked(found)


def _vendors(resources: Iterable[str]) -> list[str]:
    bare = (one.removeprefix(_PREFIXES[0]).removeprefix(_PREFIXES[1]) for one in resources)
    return sorted({one for one in bare if one in gpu_fields.VENDORS})


def _quotas(quotas: Sequence[Json] | Unread) -> Finding:
    check = "quotas"
    if isinstance(quotas, Unread):
        return unread(check, quotas)
    blind = [
        f"{name(one)} ({', '.join(vendors)})"
        for one in quotas
        if (vendors := _vendors((one.get("spec") or {}).get("hard") or ()))
    ]
    if blind:
        return warn(
            check,
            f"{len(blind)} on vendors' names, which count nothing, because the webhook replaces them: {some(blind)}",
            f"limit requests.{names.RESOURCE_VGPU}, requests.{names.RESOURCE_MEMORY} and "
            f"requests.{names.RESOURCE_CORES} instead",
        )
    return ok(check, "none on vendors' names")


def _ranges(ranges: Sequence[Json] | Unread) -> Finding:
    check = "limit ranges"
    if isinstance(ranges, Unread):
        return unread(check, ranges)
    found = []
    for one in ranges:
        items = (one.get("spec") or {}).get("limits") or ()
        vendors = _vendors(resource for item in items for kind in _KINDS for resource in item.get(kind) or ())
        if vendors:
            found.append(f"{name(one)} ({', '.join(vendors)})")
    if found:
        return warn(
            check,
            f"{len(found)} on vendors' names, which don't hold after the translation: {some(found)}",
            f"use the namespace's annotations {names.ANNOTATION_DEFAULT_MEMORY}, {names.ANNOTATION_MAX_MEMORY} and "
            "their like instead",
        )
    return ok(check, "none on vendors' names")


def _skipped(skipped: Sequence[tuple[str, str]]) -> Finding:
    check = "pods"
    if skipped:
        titles = [f"{title} ({fields})" for title, fields in skipped]
        return fail(
            check,
            f"{text.count(len(skipped), 'pod')} with GPU fields, never translated: {some(titles)}",
            "delete them, so that their controllers create them again; with bareNvidiaGpu = leave, pods with "
            "nvidia.com/gpu alone are NVIDIA's own",
        )
    return ok(check, "the webhook has translated every pod that asks for GPUs")


def _overbooked(found: Evidence) -> Finding:
    check = "grants"
    assert not isinstance(found.pods, Unread)
    view = found.pods.view
    over = [
        f"GPU {one.gpu.index} of {node.name}"
        for node in view.nodes
        for one in node.gpus
        if one.gpu is not None and (one.taken.memory > one.gpu.memory or one.taken.cores > 100)
    ]
    if over:
        return fail(check, f"more is granted than there is on {some(over)}", "see docs/runbooks/UnigpuGpuOverbooked.md")
    sums = view.sums
    return ok(check, f"{sums.granted} of {sums.memory} MiB granted in {sums.shares} shares, no GPU beyond what it has")
