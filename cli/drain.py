"""`kubectl unigpu drain`: which pods would have to leave a GPU, and what keeps each. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unigpu import api_objects, documents
from unigpu.allocations import GpuUsage
from unigpu.budgets import Budget
from unigpu.units import GpuUuid
from unigpu_kube import objects
from unigpu_kube.objects import Ref

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Consent:
    """What the caller accepts to lose."""

    force: bool = False
    """Pods that no controller creates again."""
    delete_data: bool = False
    """Data in volumes that end with their pod."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A pod with a share of the GPU."""

    ref: Ref
    share: GpuUsage
    owner: str
    """The controller that creates another one, `ReplicaSet web-5d9f`; empty: none."""
    leaving: str = ""
    """Since when it is being deleted, UTC; empty: it isn't."""
    finalizers: tuple[str, ...] = ()
    refusal: str = ""
    """Why it isn't evicted without another option."""
    protecting: tuple[str, ...] = ()
    """Titles of the disruption budgets that protect it."""
    exhausted: tuple[str, ...] = ()
    """Those that allow no eviction of it now."""

    @property
    def title(self) -> str:
        """`pod team/web-0`."""
        return f"pod {self.ref.title}"


def tenants(
    found: Iterable[Json], gpu: GpuUuid, budgets: Sequence[Budget], consent: Consent
) -> tuple[list[Tenant], list[str]]:
    """Return the pods with a share of the GPU, and the names of pods whose allocation can't be read."""
    sharing: list[Tenant] = []
    unreadable: list[str] = []
    for document in found:
        about = objects.ref(document)
        try:
            facts = api_objects.pod(document)
        except documents.INVALID:
            unreadable.append(about.title)
            continue
        if facts.ended:
            continue
        if facts.allocation is None:
            if facts.problem:
                unreadable.append(about.title)
            continue
        share = api_objects.usage(facts).get(gpu)
        if share is not None:
            sharing.append(_tenant(document, about, share, budgets, consent))
    return sorted(sharing, key=lambda tenant: tenant.ref.title), sorted(unreadable)


def lines(title: str, found: Sequence[Tenant], unreadable: Sequence[str]) -> Iterator[str]:
    """Yield the plan as text."""
    count = {0: "no pod has a share", 1: "1 pod has a share"}.get(len(found), f"{len(found)} pods have shares")
    yield f"{title}: {count}"
    for tenant in found:
        yield f"  {tenant.title} ({amounts(tenant.share)}): {prospect(tenant)}"
    for name in unreadable:
        yield f"  pod {name}: its allocation can't be read, so it isn't known whether it has a share; it is left alone"


def prospect(tenant: Tenant) -> str:
    """Return what would become of a pod."""
    if tenant.leaving:
        return f"is being deleted since {tenant.leaving}"
    if tenant.refusal:
        return f"isn't evicted: {tenant.refusal}"
    after = f"; {tenant.owner} creates another" if tenant.owner else "; nothing creates another"
    if tenant.exhausted:
        return f"is evicted as soon as {_allow(tenant.exhausted)} it{after}"
    return f"is evicted{after}"


def stuck(tenant: Tenant, answer: str) -> str:
    """Return why a pod is still there. `answer`: the API server's last words on its eviction; may be empty."""
    if tenant.leaving:
        why = f"it is being deleted since {tenant.leaving}"
        return f"{why}, and waits for {', '.join(tenant.finalizers)}" if tenant.finalizers else why
    if tenant.refusal:
        return tenant.refusal
    if tenant.exhausted or answer:
        return refused(tenant, answer)
    return "its eviction has not been asked for yet"


def refused(tenant: Tenant, answer: str) -> str:
    """Return why a pod isn't evicted now. `answer`: the API server's words; may be empty."""
    titles = tenant.exhausted or tenant.protecting
    said = f" ({answer})" if answer else ""
    return f"{_allow(titles)} no eviction now{said}" if titles else f"its eviction was refused{said}"


def amounts(share: GpuUsage) -> str:
    """Return a share in words."""
    if share.whole:
        return "the whole GPU"
    parts = [f"{share.memory} MiB"] if share.memory else []
    parts += [f"{share.cores} %"] if share.cores else []
    return " and ".join(parts) or "a share without limits"


def _tenant(document: Json, about: Ref, share: GpuUsage, budgets: Sequence[Budget], consent: Consent) -> Tenant:
    metadata = document["metadata"]
    labels = metadata.get("labels") or {}
    owner = objects.controller(document)
    protecting = [one for one in budgets if one.protects(about.namespace, about.name, labels)]
    leaving = str(metadata.get("deletionTimestamp") or "")
    refusal = ""
    if not leaving and owner is None and not consent.force:
        refusal = "no controller creates it again; accepted: --force"
    elif not leaving and not consent.delete_data and (volumes := _data(document)):
        refusal = f"data in its volumes {', '.join(volumes)} would be lost; accepted: --delete-emptydir-data"
    return Tenant(
        about,
        share,
        owner.title if owner is not None else "",
        leaving,
        tuple(metadata.get("finalizers") or ()),
        refusal,
        tuple(one.title for one in protecting),
        tuple(one.title for one in protecting if not one.allowed),
    )


def _data(document: Json) -> list[str]:
    """Return the pod's volumes whose files end with it; those in memory, such as /dev/shm, don't count."""
    volumes = document["spec"].get("volumes") or ()
    return [one["name"] for one in volumes if "emptyDir" in one and (one["emptyDir"] or {}).get("medium") != "Memory"]


def _allow(titles: Sequence[str]) -> str:
    shown = ", ".join(titles)
    return f"disruption budget {shown} allows" if len(titles) == 1 else f"disruption budgets {shown} allow"
