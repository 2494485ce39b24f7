"""Every parser of text that other programs or people write: what it is fed, and what it may raise.

A new parser of foreign text gets an entry here; `tests/unit/fuzz` and `make check-parsers` do the rest.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from cli.top import samples
from deviceplugin import pods as agent_pods
from deviceplugin.kubelet import slot_owner
from deviceplugin.node import inventory, nvidia_spec, runtime_check
from tests.unit.fuzz.samples import (
    ALLOCATION,
    APPLIED,
    BUDGET,
    CGROUP,
    CHECKPOINT,
    CONTAINERD,
    CORDONED,
    GPUS,
    GRANT,
    INVENTORY,
    LABELS,
    LIMITS,
    LOWERABLE,
    LOWERED,
    NODE,
    NVIDIA_SPEC,
    PAGE,
    POD,
    POLICY,
    PROCESSES,
    QUANTITY,
    READING,
    REPORT,
    REQUEST,
    REVIEW,
    SECRET,
    SHARE,
    SPEC,
    TELEMETRY,
    WALLS,
    WISHER,
    cache_file,
    usage_file,
)
from unigpu import (
    allocations,
    api_objects,
    budgets,
    cdi,
    cgroups,
    cordons,
    documents,
    driver_parts,
    errors,
    gpus,
    grants,
    limits,
    linker_cache,
    lowering,
    modes,
    names,
    node_report,
    policy,
    quantities,
    requests,
    telemetry,
    usage,
    walls,
    wishes,
)
from webhook.admission import admission_review
from webhook.tls import certificates
from webhook.translation import pods as webhook_pods


@dataclass(frozen=True, slots=True)
class Parser:
    """One parser. It returns a value for any input, or raises one of `malformed` with a text that can be logged."""

    call: Callable[[Any], object]
    sample: str | bytes
    """A valid input."""
    malformed: tuple[type[Exception], ...] = (errors.Malformed,)
    document: bool = False
    """Whether it gets the decoded JSON document rather than the text: a program decodes it before."""


def _text(load: Callable[[str], object], sample: object, *malformed: type[Exception]) -> Parser:
    return Parser(load, sample if isinstance(sample, str) else json.dumps(sample), malformed or (errors.Malformed,))


def _document(load: Callable[[Any], object], sample: object, *malformed: type[Exception]) -> Parser:
    return Parser(load, json.dumps(sample), malformed or (errors.Malformed,), document=True)


def _annotated(text: str) -> object:
    return limits.from_annotations({names.ANNOTATION_LIMITS: text}, ["main"])


def _labels(document: Any) -> object:
    """Values of labels are strings: the API server accepts no others."""
    labels = {str(key): str(value) for key, value in document.items()} if isinstance(document, dict) else {}
    return modes.from_labels(labels), modes.gpu_policy(labels)


def _probe(line: str) -> object:
    return inventory.read(line.encode(errors="surrogatepass"))


def _page(text: str) -> object:
    """The page is decoded from UTF-8 before."""
    return samples.page(text.encode(errors="replace").decode(), 0.0)


def _wish(content: bytes) -> object:
    """What becomes of a wish: limits, or a refusal in words."""
    wish = wishes.unpack(content, 2)
    shares = (SHARE, SHARE)
    try:
        limit = wishes.wanted(wish, WISHER, shares, limits.Limit()) if wish is not None else limits.Limit()
    except errors.Denied as error:
        return str(error).encode()
    return wishes.options(limits.Limit(), limit), wishes.answer(wishes.options(limits.Limit(), limit))


def _totals(content: bytes) -> object:
    """The beginning of a usage file, of the size that is read."""
    found = usage.totals(content.ljust(usage.SLOTS_OFFSET, b"\0")[: usage.SLOTS_OFFSET], 2)
    return limits.held_memory((SHARE, SHARE), found)


def _live(content: bytes) -> object:
    """Nobody reads more live states than the file has room for."""
    content = content.ljust(policy.SIZE, b"\0")
    return [policy.read_live_state(content, position) for position in range(policy.MAX_GPUS)]


PARSERS: dict[str, Parser] = {
    "request": _text(requests.load, REQUEST),
    "allocation": _text(allocations.load, ALLOCATION),
    "inventory": _text(gpus.load, INVENTORY),
    "grant": _text(grants.load, GRANT),
    "report": _text(node_report.load, REPORT),
    "telemetry": _text(telemetry.load, TELEMETRY),
    "limits": _text(lambda text: limits.parse(text, ["main"]), LIMITS),
    "limits-short": _text(_annotated, "memory=1Gi,cores=10,ceiling=80,policy=soft"),
    "limits-applied": _text(limits.load_applied, APPLIED),
    "lowerable": _text(lambda text: lowering.load(text, GPUS), LOWERABLE),
    "lowered": _text(lowering.load_record, LOWERED),
    "cordoned": _text(cordons.load, CORDONED),
    "walls": _text(walls.load, WALLS),
    "checkpoint": _text(slot_owner.read_checkpoint, CHECKPOINT),
    "cdi-spec": _text(cdi.folder_of, SPEC),
    "containerd": _text(runtime_check.load, CONTAINERD),
    "nvidia-cdi-spec": _text(nvidia_spec.load, NVIDIA_SPEC),
    "nvidia-cdi-spec-yaml": _text(nvidia_spec.load, yaml.safe_dump(NVIDIA_SPEC)),
    "probe-gpus": _text(_probe, READING, errors.Malformed, errors.Unavailable),
    "probe-processes": _text(_probe, PROCESSES, errors.Malformed, errors.Unavailable),
    "cgroup": _text(cgroups.place, CGROUP),
    "quantity": _text(quantities.parse, QUANTITY, ValueError),
    "quantity-count": _text(quantities.count, QUANTITY, ValueError),
    "metrics-page": _text(_page, PAGE, ValueError),
    "agent-pod": _document(agent_pods.read, POD),
    "scheduler-pod": _document(api_objects.pod, POD, *documents.INVALID),
    "scheduler-node": _document(api_objects.node, NODE, *documents.INVALID),
    "scheduler-budget": _document(budgets.load, BUDGET, *documents.INVALID),
    "webhook-pod": _document(webhook_pods.read, POD),
    "node-labels": _document(_labels, LABELS),
    "secret": _document(certificates.from_secret, SECRET),
    "review": Parser(admission_review.read, json.dumps(REVIEW).encode()),
    "policy": Parser(policy.unpack, POLICY),
    "policy-live": Parser(_live, POLICY, (errors.Malformed,)),
    "linker-cache": Parser(lambda content: list(linker_cache.paths(content, "libc.so.6", "x86_64")), cache_file()),
    "driver-words": _text(driver_parts.capabilities, "compute,utility,video"),
    "wish": Parser(_wish, struct.pack("<Q8xQI4xQI4x", 7, 2 << 30, 40, 2 << 30, 40).ljust(wishes.WISH_SIZE, b"\0")),
    "usage-totals": Parser(_totals, usage_file()),
    "usage": Parser(lambda content: usage.unpack(content, 2, lambda _: True), usage_file()),
}
