"""NvFractions of KAI 0.18 and later, and of Run:ai 3: annotations that name a container, with Kubernetes quantities.

Source: https://github.com/kai-scheduler/KAI-Scheduler, pkg/scheduler/api/pod_info and docs/gpu-sharing. There the
request is guaranteed, and a container may use up to the limit while memory is free. unigpu never promises memory twice:
it grants the limit.
"""

from unigpu.requests import ComputePolicy, Request
from webhook.translation.container_reader import ContainerReader
from webhook.translation.dialect import Dialect
from webhook.translation.dialects import kai
from webhook.translation.pods import Container, Pod

PREFIX = kai.NVFRACTIONS
REQUEST, LIMIT, MODE = ".gpu-memory.request", ".gpu-memory.limit", ".gpu-compute.mode"
SUFFIXES = (REQUEST, LIMIT, MODE)
MODES = ("time-slicing", "sm-sharing")


def read(reader: ContainerReader) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    own = f"{PREFIX}{reader.container.name}"
    gpus = kai.gpus(reader)
    asked, limit = (reader.annotation_bytes(f"{own}{suffix}") for suffix in (REQUEST, LIMIT))
    mode = reader.annotation(f"{own}{MODE}")
    if mode is not None and mode not in MODES:
        reader.refuse(f"{own}{MODE}", "unknown mode", " or ".join(MODES), value=mode)
    elif mode == MODES[1]:
        why = "has no effect: unigpu shares a GPU's time, and doesn't start MPS"
        reader.warn(f"annotation {own}{MODE}", why, value=mode)
    if asked and limit and asked > limit:
        reader.refuse(f"{own}{REQUEST}", f"more than {own}{LIMIT}", f"up to {limit} MiB", value=f"{asked} MiB")
    if not (asked or limit or reader.problems):
        reader.refuse(f"{own}{MODE}", f"needs {own}{REQUEST}", f"together with {own}{REQUEST}", value=mode or "")
    if reader.problems:
        return None
    if asked and limit > asked:
        why = f"is reserved as a whole, because unigpu doesn't lend memory; {own}{REQUEST} has no effect"
        reader.warn(f"annotation {own}{LIMIT}", why, value=f"{limit} MiB")
    return Request(gpus=gpus, memory=max(asked, limit), policy=ComputePolicy.UNLIMITED)


def targeted(pod: Pod, container: Container) -> bool:
    """Return whether an annotation names the container."""
    own = f"{PREFIX}{container.name}"
    return any(f"{own}{suffix}" in pod.annotations for suffix in SUFFIXES)


DIALECT = Dialect(
    name="nvfractions",
    title="KAI's NvFractions",
    resources=(),
    read=read,
    families=(PREFIX,),
    targeted=targeted,
)
