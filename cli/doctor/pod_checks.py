"""Checks of what users have: quotas and limit ranges on vendors' names, and pods. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from cli import gpu_fields, text
from cli.doctor.check import Finding, Unread, fail, ok, unread, warn
from cli.doctor.evidence import Evidence, Json, name, some
from unigpu import names

REQUESTS = "requests."
_KINDS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def checks(found: Evidence) -> Iterator[Finding]:
    """Yield the findings."""
    replaced = _replaced(found.deployments)
    yield _quotas(found.quotas, replaced=replaced)
    yield _ranges(found.limit_ranges, replaced=replaced)
    if isinstance(found.pods, Unread):
        yield unread("pods", found.pods)
        return
    yield _skipped(found.pods.skipped)
    yield _overbooked(found)


def vendors_names(resources: Iterable[str]) -> list[str]:
    """Return the vendors' resources among the names of a quota or a limit range."""
    bare = (one.removeprefix(REQUESTS).removeprefix("limits.") for one in resources)
    return sorted({one for one in bare if one in gpu_fields.VENDORS})


def limited(limit_range: Json) -> Iterator[str]:
    """Yield the resources that a limit range names."""
    for item in (limit_range.get("spec") or {}).get("limits") or ():
        for kind in _KINDS:
            yield from item.get(kind) or ()


def _replaced(deployments: Sequence[Json] | Unread) -> bool:
    """Return whether the webhook takes vendors' resources out of the pods, by its own arguments."""
    found = () if isinstance(deployments, Unread) else deployments
    containers = (
        container
        for one in found
        for container in ((one.get("spec") or {}).get("template") or {}).get("spec", {}).get("containers") or ()
    )
    return any("--vendor-resources=replace" in (container.get("args") or ()) for container in containers)


def _quotas(quotas: Sequence[Json] | Unread, *, replaced: bool) -> Finding:
    check = "quotas"
    if isinstance(quotas, Unread):
        return unread(check, quotas)
    hard = {name(one): (one.get("spec") or {}).get("hard") or {} for one in quotas}
    unified = f"requests.{names.RESOURCE_VGPU}, requests.{names.RESOURCE_MEMORY} and requests.{names.RESOURCE_CORES}"
    uncounted = {title: [one for one in found if not one.startswith(REQUESTS)] for title, found in hard.items()}
    void = [
        f"{title} ({', '.join(vendors)})" for title, found in uncounted.items() if (vendors := vendors_names(found))
    ]
    if void:
        why = "that Kubernetes counts nowhere, because of extended resources it counts requests alone"
        return warn(check, f"{len(void)} on names {why}: {some(void)}", f"prefix the names with {REQUESTS}")
    on_vendors = [
        f"{title} ({', '.join(vendors)})"
        for title, found in hard.items()
        if (vendors := vendors_names(found)) and (replaced or f"requests.{names.RESOURCE_MEMORY}" not in found)
    ]
    if on_vendors and replaced:
        why = "which count nothing, because the webhook replaces them"
        return warn(
            check, f"{len(on_vendors)} on vendors' names, {why}: {some(on_vendors)}", f"limit {unified} instead"
        )
    if on_vendors:
        why = "which count only pods that are written so, and no others"
        return warn(
            check,
            f"{len(on_vendors)} on vendors' names alone, {why}: {some(on_vendors)}",
            f"limit requests.{names.RESOURCE_MEMORY} too, which counts pods of every dialect",
        )
    return ok(check, "all count what their author meant")


def _ranges(ranges: Sequence[Json] | Unread, *, replaced: bool) -> Finding:
    check = "limit ranges"
    if isinstance(ranges, Unread):
        return unread(check, ranges)
    found, implied = [], []
    for one in ranges:
        vendors = vendors_names(limited(one))
        if vendors:
            found.append(f"{name(one)} ({', '.join(vendors)})")
        # The API server fills in the default when the LimitRange is created.
        if any(vendors_names(item.get("default") or ()) for item in (one.get("spec") or {}).get("limits") or ()):
            implied.append(name(one))
    if found and replaced:
        return warn(
            check,
            f"{len(found)} on vendors' names, which don't hold after the translation: {some(found)}",
            f"use the namespace's annotations {names.ANNOTATION_DEFAULT_MEMORY}, {names.ANNOTATION_MAX_MEMORY} and "
            "their like instead",
        )
    if implied:
        return warn(
            check,
            f"{len(implied)} with a vendor's resource by default, which a maximum implies: every container there gets "
            f"a share of a GPU, and containers of other dialects are refused: {some(implied)}",
            f"use the namespace's annotation {names.ANNOTATION_MAX_MEMORY} or its like for a maximum alone",
        )
    return ok(check, f"{len(found)} on vendors' names, which hold" if found else "none on vendors' names")


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
