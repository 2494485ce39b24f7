"""Writes slots' CDI specs, so that a container is never created from another container's spec.

A slot passes from one container to the next. Each allocation of it is marked; a spec is written only while its mark is
the current one, and only after runtimes have noticed that the earlier owner's spec is gone.

CDI: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from deviceplugin.allocation.allocate import Decision
from deviceplugin.node.driver import Driver
from deviceplugin.node.libvgpu_install import InstalledLibvgpu
from deviceplugin.store.cdi_store import CdiStore
from deviceplugin.store.container_store import ContainerStore
from unigpu import cdi, errors, logs
from unigpu.grants import Grant

logger = logging.getLogger(__name__)


class SpecWriter:
    """The slots' specs, and who may write each of them."""

    def __init__(
        self, specs: CdiStore, containers: ContainerStore, driver: Driver, installed: InstalledLibvgpu
    ) -> None:
        self._specs = specs
        self._containers = containers
        self._driver = driver
        self._installed = installed
        self._locks: dict[str, asyncio.Lock] = {}
        self._marks: dict[str, object] = {}
        """Of each allocation, by first slot, until its container starts."""

    def allocated(self, slots: Sequence[str]) -> object:
        """Remove what earlier holders' specs say of these slots; return the mark of this allocation.

        A spec that can't be removed is logged: PreStartContainer will try again, and no container starts before it
        succeeds.
        """
        for slot in slots:
            try:
                self._specs.remove(slot)
            except errors.Unavailable as error:
                logs.event(logger, "CDI spec not removed", logging.ERROR, slot=slot, reason=error)
        mark = self._marks[min(slots)] = object()
        return mark

    def starting(self, slots: Sequence[str]) -> None:
        """End the time in which the spec may be written ahead: the container starts now."""
        self._marks.pop(min(slots), None)

    async def write(self, decision: Decision, mark: object = None) -> bool:
        """Write the container's spec and the common one; return False where the slots' mark has changed.

        `mark` is that of the allocation while its container doesn't start yet. Raises Unavailable.
        """
        slot = min(decision.grant.slots)
        folder = self._folder(decision.grant)
        async with self._locks.setdefault(slot, asyncio.Lock()):
            if self._marks.get(slot) is not mark:
                return False  # the spec may be another container's by now
            if self._specs.owner(slot) not in (None, folder):
                self._specs.remove(slot)
            await asyncio.sleep(self._specs.stale(slot, folder))
            if self._marks.get(slot) is not mark:
                return False
            await asyncio.to_thread(self._write, slot, folder, decision)
            return True

    def remove(self, grant: Grant) -> None:
        """Remove the container's spec, unless its slot has another owner by now. Raises Unavailable."""
        self._specs.remove(min(grant.slots), self._folder(grant))

    def slots(self) -> frozenset[str]:
        """Return the slots that have a spec."""
        return frozenset(self._specs.slots())

    def gc(self, pod_uids: frozenset[str]) -> None:
        """Remove specs of pods other than these. Raises Unavailable."""
        for slot in self._specs.slots():
            owner = self._specs.owner(slot)
            if owner is None or owner.parent.name not in pod_uids:
                self._specs.remove(slot, owner)

    def _write(self, slot: str, folder: Path, decision: Decision) -> None:
        managed = cdi.common_edits(self._installed.library, self._installed.preload, self._installed.anchor)
        self._specs.write_common(self._driver.common().plus(managed))
        own = self._driver.own(decision.gpus, decision.wanted)
        self._specs.write(slot, cdi.container_edits(folder).plus(own).plus(cdi.Edits(env=decision.env)))

    def _folder(self, grant: Grant) -> Path:
        return self._containers.of(grant.pod_uid, grant.container)
