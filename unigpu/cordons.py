"""The GPUs of a node that take nothing new, and the annotation that names them (`unigpu.dev/cordoned`).

A cordon belongs to a GPU's UUID, so it follows the GPU to another slot of the node. Pods that have a share of the GPU
keep it, and their limits can still be raised.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unigpu import documents, errors
from unigpu.gpus import Gpu
from unigpu.units import GpuUuid

MAX_GPUS = 1024
"""Most cordons of one node. A node may have cordons of GPUs that were taken out of it."""
MAX_UUID, MAX_REASON, MAX_SINCE = 128, 256, 40
"""Most characters of each text."""


@dataclass(frozen=True, slots=True)
class Cordon:
    """Why and since when nothing new is placed on a GPU."""

    reason: str = ""
    """For people; may be empty."""
    since: str = ""
    """UTC, `2026-01-31T12:00:00Z`."""


Cordons = Mapping[GpuUuid, Cordon]
"""The cordons of a node, by the GPU's UUID."""


def dump(cordons: Cordons) -> str | None:
    """Return the annotation's text; None, which removes the annotation, if nothing is cordoned."""
    if not cordons:
        return None
    document = {uuid: {"reason": cordon.reason, "since": cordon.since} for uuid, cordon in sorted(cordons.items())}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def load(text: str | None) -> dict[GpuUuid, Cordon]:
    """Return the cordons that `dump` wrote; none where the annotation is absent.

    Raises Malformed.
    """
    if text is None:
        return {}
    try:
        document = documents.decode(text)
        if len(document) > MAX_GPUS:
            raise ValueError(f"it names {len(document)} GPUs; accepted: up to {MAX_GPUS}")
        return {
            GpuUuid(_line(uuid, MAX_UUID)): Cordon(
                _line(item.get("reason", ""), MAX_REASON), _line(item.get("since", ""), MAX_SINCE)
            )
            for uuid, item in document.items()
        }
    except documents.INVALID as error:
        raise errors.Malformed(f"cordoned annotation can't be read: {documents.brief(error)}") from error


def cordon(cordons: Cordons, gpu: GpuUuid, reason: str, now: str) -> dict[GpuUuid, Cordon]:
    """Return the cordons with one more. A GPU that is cordoned keeps its time, and its reason if no other is given.

    Raises Denied where the reason can't be written.
    """
    try:
        _line(reason, MAX_REASON)
    except ValueError as error:
        shown = reason if len(reason) <= 40 else reason[:39] + "…"
        raise errors.Denied(
            f"reason = {shown!r}: {error}; accepted: one line of up to {MAX_REASON} characters"
        ) from error
    former = cordons.get(gpu)
    added = Cordon(reason, now) if former is None else Cordon(reason or former.reason, former.since)
    return {**cordons, gpu: added}


def uncordon(cordons: Cordons, gpu: GpuUuid) -> dict[GpuUuid, Cordon]:
    """Return the cordons without the GPU's."""
    return {uuid: found for uuid, found in cordons.items() if uuid != gpu}


def find_gpu(name: str, gpus: Sequence[Gpu], cordons: Cordons) -> GpuUuid:
    """Return the UUID of the GPU that a person names by its index on the node or by its UUID.

    A cordoned GPU that has left the node is found by its UUID, so that its cordon can be ended.

    Raises Denied where the node has no such GPU.
    """
    known = {gpu.uuid for gpu in gpus} | cordons.keys()
    if name in known:
        return GpuUuid(name)
    if name.isascii() and name.isdigit():
        for gpu in gpus:
            if str(gpu.index) == name.lstrip("0") or (gpu.index == 0 and not name.strip("0")):
                return gpu.uuid
    indexes = ", ".join(str(gpu.index) for gpu in sorted(gpus, key=lambda gpu: gpu.index))
    accepted = f"an index ({indexes}) or a UUID" if indexes else "a GPU of a node whose node agent reports GPUs"
    raise errors.Denied(f"GPU = {name}: the node has no such GPU; accepted: {accepted}")


def _line(value: object, limit: int) -> str:
    text = documents.text(value)
    if len(text) > limit:
        raise ValueError(f"a text has {len(text)} characters; accepted: up to {limit}")
    if not text.isprintable():
        raise ValueError(f"{documents.shorten(text)} has characters that can't be printed")
    return text
