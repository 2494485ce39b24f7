"""What services must not use of asyncio, because it loses a cancellation, and a service would then never end."""

import asyncio
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
SERVICES = ("webhook", "scheduler", "deviceplugin", "exporter", "page", "unigpu_kube", "unigpu_service", "unigpu_node")


def test_no_service_waits_by_wait_for() -> None:
    """Python 3.11's `asyncio.wait_for` drops a cancellation that arrives together with the answer.

    A task in a loop then goes on, and its supervisor never sees its end. `asyncio.timeout` drops none.
    """
    used = [
        str(path.relative_to(ROOT))
        for folder in SERVICES
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"asyncio\.wait_for\(", path.read_text())
    ]
    assert used == []


async def test_a_timeout_keeps_a_cancellation_that_comes_with_the_answer() -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        while True:
            async with asyncio.timeout(60):
                await asyncio.shield(answer)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    answer.set_result("now")
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=60)
    assert task in done and task.cancelled()
