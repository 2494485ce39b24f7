"""How often what was refused is read, and that one thread reads it for all containers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deviceplugin.node import pod_events
from unigpu import usage


@pytest.mark.parametrize(
    ("spent", "seconds"),
    [(0.0, 1.0), (0.003, 1.0), (0.006, 2.0), (0.03, 5.0)],
)
def test_readings_that_cost_much_are_rarer(spent: float, seconds: float) -> None:
    assert pod_events.pause(spent) == pytest.approx(seconds)


class Stored:
    """As much of a stored grant as a reading needs."""

    class grant:
        shares = ("a share",)


async def test_a_round_takes_one_thread_for_all_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    hops: list[str] = []
    compared: list[Any] = []
    to_thread = asyncio.to_thread

    async def counted(function: Any, *arguments: Any) -> Any:
        hops.append(function.__name__)
        return await to_thread(function, *arguments)

    class Played(pod_events.PodEvents):
        def __init__(self) -> None:
            self._grants: Any = self
            self._containers: Any = self
            self._heads: Any = self
            self._refused, self._told = {}, {}
            self._folders, self._version = {}, -1
            self.version = 0

        def items(self) -> list[Any]:
            return [((f"uid-{number}", "main"), Stored) for number in range(50)]

        def get(self, key: Any) -> Any:
            return Stored

        def of(self, uid: str, container: str) -> Path:
            return Path(uid, container)

        def settled(self, containers: Any, now_ns: int) -> bool:
            return False

        def changed(self, containers: Any, now_ns: int) -> Any:
            return dict.fromkeys(containers)

        def close(self) -> None:
            """As the files' reader."""

        def _read(self, key: Any, gpus: int) -> list[usage.GpuTotals] | None:
            return None if key[0] == "uid-0" else []

        def _compare(self, key: Any, grant: Any, found: Any) -> None:
            compared.append(key)
            if len(compared) == 49:
                raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "to_thread", counted)
    monkeypatch.setattr(pod_events, "PACE", 0.0)
    with pytest.raises(asyncio.CancelledError):
        await Played().run()
    assert len(hops) == 1
    assert ("uid-0", "main") not in compared
