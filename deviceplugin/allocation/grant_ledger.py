"""Every grant of the node, and what containers hold beyond theirs. Only this module changes them."""

import asyncio
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from deviceplugin.allocation import grant_totals
from deviceplugin.allocation.grant_totals import Overuse
from unigpu.grants import Grant
from unigpu.units import GpuUuid, MiB
from unigpu_node.containers import Key, StoredGrant


class GrantLedger:
    """Grants in memory; `ContainerStore` has them on disk. A grant is entered in the same step in which it is decided,
    so that the next decision counts it even while its files are still being written."""

    def __init__(self, stored: Mapping[Key, StoredGrant]) -> None:
        self._grants: dict[Key, StoredGrant] = {}
        self._pods: dict[str, dict[str, StoredGrant]] = {}
        """The same by pod UID and container."""
        self._overuse: dict[Key, Mapping[GpuUuid, MiB]] = {}
        self._filled = asyncio.Event()
        self.version = 0
        """Another one after each change of a grant: who has seen it needn't look at a thousand grants again."""
        for key, one in stored.items():
            self._put(key, one)

    def __contains__(self, key: Key) -> bool:
        return key in self._grants

    def __len__(self) -> int:
        return len(self._grants)

    async def filled(self) -> None:
        """Wait until there is a grant."""
        await self._filled.wait()

    def get(self, key: Key) -> StoredGrant | None:
        """Return the container's grant, None where it has none."""
        return self._grants.get(key)

    def items(self) -> list[tuple[Key, StoredGrant]]:
        """Return all grants with their keys."""
        return list(self._grants.items())

    def keys(self) -> list[Key]:
        """Return the keys of all grants."""
        return list(self._grants)

    def pod_uids(self) -> frozenset[str]:
        """Return the UIDs of the pods that hold grants."""
        return frozenset(self._pods)

    def of_pod(self, uid: str) -> dict[str, StoredGrant]:
        """Return a pod's grants by container."""
        return dict(self._pods.get(uid, {}))

    def grants(self) -> list[Grant]:
        """Return all grants as they were given."""
        return [stored.grant for stored in self._grants.values()]

    def counted(self) -> list[Grant]:
        """Return all grants, each with the memory in use where that is more than granted."""
        return grant_totals.with_overuse(self.grants(), self._overuse)

    @property
    def overuse(self) -> Overuse:
        """Memory in use on GPUs where it exceeds the limit, MiB by container and GPU."""
        return self._overuse

    def enter(self, grant: Grant) -> None:
        """Enter a grant, prepared now; it replaces its container's earlier one."""
        self._put((grant.pod_uid, grant.container), StoredGrant(grant, time.time()))

    def amend(self, key: Key, **fields: Any) -> None:
        """Change fields of a container's grant; a container without one is ignored."""
        stored = self._grants.get(key)
        if stored is not None:
            self._put(key, dataclasses.replace(stored, grant=dataclasses.replace(stored.grant, **fields)))

    def remove(self, key: Key) -> StoredGrant | None:
        """Remove a container's grant and return it; None where it had none."""
        self._overuse.pop(key, None)
        removed = self._grants.pop(key, None)
        if removed is not None:
            uid, container = key
            del self._pods[uid][container]
            if not self._pods[uid]:
                del self._pods[uid]
            self.version += 1
            if not self._grants:
                self._filled.clear()
        return removed

    def set_overuse(self, key: Key, used: Mapping[GpuUuid, MiB]) -> None:
        """Note what the container has in use beyond its limits; nothing clears the note."""
        if used:
            self._overuse[key] = used
        else:
            self._overuse.pop(key, None)

    def clear_overuse(self, uid: str) -> None:
        """Forget what a pod's containers have in use beyond their limits."""
        for key in [key for key in self._overuse if key[0] == uid]:
            del self._overuse[key]

    def _put(self, key: Key, stored: StoredGrant) -> None:
        uid, container = key
        self._grants[key] = self._pods.setdefault(uid, {})[container] = stored
        self.version += 1
        self._filled.set()
