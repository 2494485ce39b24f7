"""tensor-fusion: a pod asks by annotations, for the containers that one of them names.

Source: https://github.com/NexusGPU/tensor-fusion-site/blob/main/docs/en/reference/workload-configuration.md. Compute
in TFLOPS depends on the GPU, which isn't chosen yet, and can't be expressed here; percentages can.
"""

from unigpu.requests import ComputePolicy, Request
from unigpu.units import FULL, Percent
from webhook.translation.container_reader import MAX_GPUS, ContainerReader
from webhook.translation.dialect import Dialect
from webhook.translation.pods import Container, Pod

PREFIX = "tensor-fusion.ai/"
ENABLED = (f"{PREFIX}enabled", "true")
"""Label without which tensor-fusion leaves a pod alone."""
VRAM_REQUEST, VRAM_LIMIT = f"{PREFIX}vram-request", f"{PREFIX}vram-limit"
PERCENT_REQUEST, PERCENT_LIMIT = f"{PREFIX}compute-percent-request", f"{PREFIX}compute-percent-limit"
TFLOPS = (f"{PREFIX}tflops-request", f"{PREFIX}tflops-limit")
COUNT, DEDICATED, CONTAINERS = f"{PREFIX}gpu-count", f"{PREFIX}dedicated-gpu", f"{PREFIX}inject-container"
READ = (VRAM_REQUEST, VRAM_LIMIT, PERCENT_REQUEST, PERCENT_LIMIT, COUNT, DEDICATED, CONTAINERS)


def read(reader: ContainerReader) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    gpus = reader.annotation_number(COUNT, MAX_GPUS) or 1
    if reader.annotation(DEDICATED) == "true":
        return None if reader.problems else Request(gpus=gpus, whole=True)
    asked, limit = (reader.annotation_bytes(name) for name in (VRAM_REQUEST, VRAM_LIMIT))
    cores, ceiling = (reader.annotation_number(name, FULL) for name in (PERCENT_REQUEST, PERCENT_LIMIT))
    if not (asked or limit or reader.problems):
        why = "the pod names no GPU memory; unigpu doesn't read WorkloadProfiles"
        reader.refuse(VRAM_LIMIT, why, 'a quoted quantity such as "4Gi"', value="absent")
    if ceiling and ceiling < cores:
        reader.refuse(PERCENT_LIMIT, f"less than {PERCENT_REQUEST}", f'"{cores}" to "100"', value=str(ceiling))
    if reader.problems:
        return None
    if limit > asked > 0:
        why = f"is reserved as a whole, because unigpu doesn't lend memory; {VRAM_REQUEST} has no effect"
        reader.warn(f"annotation {VRAM_LIMIT}", why, value=f"{limit} MiB")
    for name in TFLOPS:
        if name in reader.pod.annotations:
            why = "has no effect: unigpu shares a GPU's time in percent"
            reader.warn(f"annotation {name}", why, PERCENT_REQUEST, value=reader.pod.annotations[name])
    cores = cores or ceiling
    policy = ComputePolicy.UNLIMITED
    if cores:
        policy = ComputePolicy.SOFT if ceiling > cores else ComputePolicy.HARD
    return Request(
        gpus=gpus,
        memory=max(asked, limit),
        cores=Percent(cores),
        ceiling=Percent(ceiling if ceiling > cores else 0),
        policy=policy,
    )


def targeted(pod: Pod, container: Container) -> bool:
    """Return whether the pod's annotations mean this container: those that they name, else the first."""
    label, value = ENABLED
    if pod.labels.get(label) != value or container.ephemeral:
        return False
    if not any(name.startswith(PREFIX) for name in pod.annotations):
        return False
    named = pod.annotations.get(CONTAINERS)
    if named is None:
        return container.place == "containers" and container.index == 0
    return container.name in (name.strip() for name in named.split(","))


DIALECT = Dialect(
    name="tensor-fusion",
    title="tensor-fusion",
    resources=(),
    read=read,
    families=(PREFIX,),
    targeted=targeted,
)
