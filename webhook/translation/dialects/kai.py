"""KAI, and Run:ai, whose annotations it adopted: a pod asks by annotation, for one of its containers.

Source: https://github.com/kai-scheduler/KAI-Scheduler/tree/main/docs/gpu-sharing.
"""

from fractions import Fraction

from unigpu import errors, names, quantities, requests
from unigpu.remembered import remembered
from unigpu.requests import ComputePolicy, Request
from unigpu.units import MAX_MEMORY, MiB, Percent
from webhook.translation.container_reader import MAX_GPUS, ContainerReader
from webhook.translation.dialect import Dialect
from webhook.translation.pods import Container, Pod

NAME = "kai"
FRACTION = "gpu-fraction"
MEMORY = "gpu-memory"
DEVICES = "gpu-fraction-num-devices"
CONTAINER = "gpu-fraction-container-name"
ANNOTATIONS = (FRACTION, MEMORY, DEVICES, CONTAINER)
SCHEDULERS = ("kai-scheduler", "runai-scheduler", names.SCHEDULER_NAME)
QUEUE_LABELS = ("kai.scheduler/queue", "runai/queue")
NVFRACTIONS = "nvidia.com/container."
"""Beginning of the annotations that replace these; see nvfractions."""
ACCEPTED_FRACTION = 'a quoted number between "0" and "1"'


def read(reader: ContainerReader) -> Request | None:
    """Return the container's request, or None with problems in the reader."""
    count = gpus(reader)
    fraction, memory = reader.annotation(FRACTION), reader.annotation(MEMORY)
    name = reader.annotation(CONTAINER)
    if name is not None and name != reader.container.name:
        known = ", ".join(container.name for container in reader.pod.containers[:8])
        reader.refuse(CONTAINER, "the pod has no such container", f"one of {known}", value=name)
    if fraction is not None and memory is not None:
        reader.refuse(MEMORY, f"{FRACTION} is set too", "one of the two", value=memory)
        return None
    percent = _percent(reader, fraction) if fraction is not None else Percent(0)
    mebibytes = _memory(reader, memory) if memory is not None else MiB(0)
    if reader.problems:
        return None
    if mebibytes:
        return Request(gpus=count, memory=mebibytes, policy=ComputePolicy.UNLIMITED)
    return Request(gpus=count, memory_percent=percent, cores=percent, ceiling=Percent(100), policy=ComputePolicy.SOFT)


def targeted(pod: Pod, container: Container) -> bool:
    """Return whether the pod's annotations mean this container: the one that they name, else the first."""
    if not asks(pod):
        return False
    name = pod.annotations.get(CONTAINER)
    if name and any(other.name == name for other in pod.containers):
        return container.name == name
    return container.place == "containers" and container.index == 0


def asks(pod: Pod) -> bool:
    """Return whether the pod asks by KAI's annotations.

    `gpu-memory` has no vendor's domain, and people also use it as a note. It counts only where something else in the
    pod is KAI's: the scheduler, the queue or another annotation.
    """
    if any(name.startswith(NVFRACTIONS) for name in pod.annotations):
        return False  # KAI reads these instead
    if FRACTION in pod.annotations or MEMORY not in pod.annotations:
        return FRACTION in pod.annotations
    if DEVICES in pod.annotations or CONTAINER in pod.annotations or not pod.labels.keys().isdisjoint(QUEUE_LABELS):
        return True
    translated = pod.annotations.get(names.ANNOTATION_REQUEST)
    if translated is not None:
        # Every translated pod has unigpu's scheduler, so that this one says nothing of what the author wrote.
        return _was_kais(translated)
    return pod.scheduler in SCHEDULERS


@remembered(64, longest=16384)
def _was_kais(request: str) -> bool:
    try:
        return any(one.dialect == NAME for one in requests.load(request).containers.values())
    except errors.Malformed:
        return False  # a forged one, which is refused elsewhere


def _percent(reader: ContainerReader, text: str) -> Percent:
    try:
        number, _ = quantities.parse(text)
    except ValueError as error:
        reader.refuse(FRACTION, str(error), ACCEPTED_FRACTION, value=text)
        return Percent(0)
    if number >= 1:
        accepted = f"{ACCEPTED_FRACTION}, or nvidia.com/gpu for whole GPUs"
        reader.refuse(FRACTION, "not a fraction of a GPU", accepted, value=text)
    elif number < Fraction(1, 100):
        reader.refuse(
            FRACTION, "less than a hundredth of a GPU", 'a quoted number from "0.01" on, below "1"', value=text
        )
    percent = int(number * 100)
    if percent != number * 100:
        reader.warn(f"annotation {FRACTION}", f"counts as {percent} %", value=text)
    return Percent(percent)


def _memory(reader: ContainerReader, text: str) -> MiB:
    accepted = "a quoted whole number of MiB above 0"
    if text.strip().endswith("m"):
        why = "in Kubernetes, the suffix m means thousandths"
        reader.refuse(MEMORY, why, f"{text.strip()[:-1]}, without a suffix", value=text)
        return MiB(0)
    try:
        number = quantities.amount(text, MiB(1))
    except ValueError as error:
        reader.refuse(MEMORY, str(error), accepted, value=text)
        return MiB(0)
    if not 0 < number <= MAX_MEMORY:
        reader.refuse(MEMORY, "out of range" if not number else "no GPU has that much memory", accepted, value=text)
    return MiB(number)


def gpus(reader: ContainerReader) -> int:
    """Return the number of GPUs that the pod's annotation gives its container."""
    text = reader.annotation(DEVICES)
    if text is None:
        return 1
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_GPUS):
        reader.refuse(DEVICES, "not a number of GPUs", f'a quoted number from "1" to "{MAX_GPUS}"', value=text)
        return 1
    return int(text)


DIALECT = Dialect(
    name=NAME,
    title="KAI",
    resources=(),
    read=read,
    annotations=(FRACTION, MEMORY),
    targeted=targeted,
)
