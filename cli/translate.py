"""`kubectl unigpu translate`: what any manifest becomes, without a cluster."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jsonpatch

from cli import pod_shapes
from cli.manifests import Manifest
from unigpu import errors, findings
from unigpu.requests import PodRequest, Request
from webhook.translation import decision as decisions
from webhook.translation.decision import Decision
from webhook.translation.options import Options


@dataclass(frozen=True, slots=True)
class Translated:
    """One manifest, and what became of it."""

    manifest: Manifest
    after: dict[str, Any]
    """The document as it would be; unchanged where it is refused."""
    refusals: tuple[str, ...]
    """Why admission would refuse its pods; empty if it wouldn't."""
    remarks: tuple[str, ...]
    """What its pods ask for, and warnings."""
    unjudged: tuple[str, ...] = ()
    """Fields that ask for GPUs outside every pod that could be read."""


def translate(manifest: Manifest, options: Options) -> Translated:
    """Every pod in the manifest, as admission would treat it.

    Raises Malformed where a pod in it isn't one.
    """
    after = copy.deepcopy(manifest.document)
    refusals: list[str] = []
    remarks: list[str] = []
    found = pod_shapes.pods(manifest.document)
    for one in found:
        try:
            decision = decisions.decide(one.pod, options)
        except errors.Malformed as error:
            raise errors.Malformed(f"{manifest.source}: {manifest.title}: {error}") from error
        where = f"{manifest.title}{_shown(one.place)}"
        refusals += [f"{where}: {line}" for line in _refusals(decision)]
        remarks += [f"{where}: {line}" for line in _remarks(decision)]
        if decision.patch:
            one.put(after, jsonpatch.apply_patch(one.pod, decision.patch))
        if one.parts == {} and decision.translation.request is not None:
            remarks.append(f"{where}: its controller makes the pod from this field; the output has it as it is")
    unjudged = tuple(f"{manifest.title} {field}" for field in pod_shapes.unjudged(manifest.document, found))
    return Translated(manifest, manifest.document if refusals else after, tuple(refusals), tuple(remarks), unjudged)


def _refusals(decision: Decision) -> Iterator[str]:
    if decision.denied:
        yield decision.denied
    elif decision.translation.problems:
        yield findings.message(decision.translation.problems)


def _remarks(decision: Decision) -> Iterator[str]:
    request = decision.translation.request
    if request is not None:
        yield from _descriptions(request)
    for warning in decision.translation.warnings:
        yield f"warning: {warning}"


def _descriptions(pod: PodRequest) -> Iterator[str]:
    for name, request in pod.containers.items():
        yield f"container {name} ({request.dialect}): {describe(request)}"


def describe(request: Request) -> str:
    """A request in words: `2 GPUs, of each 3000 MiB and 30 % (hard)`."""
    gpus = f"{request.gpus} whole " * request.whole or f"{request.gpus} "
    parts = [f"{gpus}{'GPU' if request.gpus == 1 else 'GPUs'}"]
    share = []
    if request.memory:
        share.append(f"{request.memory} MiB")
    elif request.memory_percent:
        share.append(f"{request.memory_percent} % of the memory")
    elif not request.whole:
        share.append("memory without limit")
    if request.cores:
        upto = f" to {request.ceiling}" if request.ceiling > request.cores else ""
        share.append(f"{request.cores}{upto} % of the compute time")
    if share:
        parts.append(("of each " if request.gpus > 1 else "") + " and ".join(share))
    if not request.isolated:
        parts.append("not isolated")
    if request.priority:
        parts.append("low priority")
    return ", ".join(parts)


def _shown(place: tuple[str | int, ...]) -> str:
    """The place of a template, where a document may have several: ` spec.tasks[1].template`."""
    usual = ((), ("spec", "template"), ("spec", "jobTemplate", "spec", "template"), ("template",))
    if place in usual:
        return ""
    return f" {pod_shapes.shown(place)}"
