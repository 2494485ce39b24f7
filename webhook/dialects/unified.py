"""The unified form, written by hand."""

from unigpu import names
from unigpu.requests import ComputePolicy, Request
from unigpu.units import MiB, Percent
from webhook.dialect import Dialect
from webhook.sheet import MAX_CARDS, Sheet


def read(sheet: Sheet) -> Request | None:
    """The container's request; None with problems on the sheet."""
    cards = sheet.cards(names.RESOURCE_VGPU)
    memory = sheet.memory(names.RESOURCE_MEMORY, MiB(1))
    cores = sheet.number(names.RESOURCE_CORES, high=MAX_CARDS * 100)
    if sheet.problems:
        return None
    if not cards:
        field = names.RESOURCE_MEMORY if memory else names.RESOURCE_CORES
        sheet.refuse(field, f"needs {names.RESOURCE_VGPU} beside it", f"{names.RESOURCE_VGPU} of 1 to {MAX_CARDS}")
        return None
    for field, total in ((names.RESOURCE_MEMORY, memory), (names.RESOURCE_CORES, cores)):
        if total % cards:
            sheet.refuse(field, f"can't be spread evenly over {cards} GPUs", f"a multiple of {cards}")
    if cores > cards * 100:
        sheet.refuse(names.RESOURCE_CORES, f"more than {cards} GPUs have", f"up to {cards * 100}")
    if sheet.problems:
        return None
    sheet.bare = not memory and not cores
    if not memory and cores in (0, cards * 100):
        return Request(gpus=cards, whole=True)
    if not memory:
        sheet.warn(f"without {names.RESOURCE_MEMORY} its memory isn't limited: neighbours may find the GPU full")
    return Request(
        gpus=cards,
        memory=MiB(memory // cards),
        cores=Percent(cores // cards),
        policy=ComputePolicy.HARD if cores else ComputePolicy.UNLIMITED,
    )


DIALECT = Dialect(name="unigpu", title="unigpu itself", resources=names.UNIFIED_RESOURCES, read=read)
