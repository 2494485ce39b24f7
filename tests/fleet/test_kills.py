"""The extender killed at every step of a bind, behind a real kube-scheduler and a real API server."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from bench.fleet import interceptor, load
from bench.fleet.control_plane import ControlPlane, Replica
from bench.fleet.interceptor import Interceptor
from tests.fleet import fleets

STEPS = {
    "asked": "the kube-scheduler has asked, and the extender doesn't know it yet",
    "chosen": "the extender has chosen and counted, and the API server doesn't know it yet",
    "written": "the API server has written the binding, and the extender doesn't know it yet",
    "answered": "the extender has answered, and the kube-scheduler doesn't know it yet",
}
PODS = 12
KILLED_AT = 5
"""Which of the bindings is interrupted."""


@dataclass
class Relayed:
    """A replica with relays before and after its extender."""

    replica: Replica
    verbs: Interceptor
    api: Interceptor

    def set_trap(self, step: str) -> asyncio.Event:
        """Kill the extender at that step of a binding, once; the event is set then."""
        sprung, seen = asyncio.Event(), 0

        async def kill() -> None:
            nonlocal seen
            seen += 1
            if seen == KILLED_AT:
                self.replica.extender.kill()
                sprung.set()

        self.verbs.before, self.verbs.after, self.api.before, self.api.after = (
            kill if step == at else None for at in ("asked", "answered", "chosen", "written")
        )
        return sprung


@pytest.fixture
async def relayed(plane: ControlPlane) -> AsyncIterator[Relayed]:
    """A replica that is reached, and reaches the API server, by relays."""
    async with (
        interceptor.between(plane.server, "/binding", plane.certificates / "ca.crt") as api,
        interceptor.between("", "/bind") as verbs,
    ):
        replica = plane.replica(verbs=verbs.url, api_server=api.url)
        verbs.target = f"http://127.0.0.1:{replica.port}"
        yield Relayed(replica, verbs, api)


async def test_nothing_is_lost_or_doubled(plane: ControlPlane, relayed: Relayed, soak: bool) -> None:
    """After each kill all pods are bound, each once, and the books of the next extender are the annotations."""
    await load.create_nodes(plane, 4, fleets.GPUS)
    await relayed.replica.start()
    for number in range(10 if soak else 1):
        for step, words in STEPS.items():
            sprung = relayed.set_trap(step)
            pods = [f"{step}-{number}-{each}" for each in range(PODS)]
            await fleets.create(plane, pods)
            async with asyncio.timeout(60):
                await sprung.wait()
            relayed.replica.extender.start()
            await relayed.replica.ready()
            found = await fleets.bound(plane, PODS)
            assert sorted(found.bound) == sorted(pods), words
            await fleets.agree(plane, relayed.replica)
            await fleets.delete(plane, pods)
            await fleets.none(plane)
            await fleets.agree(plane, relayed.replica)
