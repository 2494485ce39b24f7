"""The page in a browser, before an API server that is played."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.chart.rendering import ROOT
from tests.integration.cli.fake_api import FakeApi
from tests.page.browser import Tab, chromium

AXE = ROOT / "build" / "axe" / "axe.min.js"
PICTURES = ROOT / "build" / "page"


@pytest.fixture
def fake(tmp_path: Path) -> Any:
    """The played API server."""
    api = FakeApi()
    with api.running(tmp_path):
        yield api


@pytest_asyncio.fixture
async def tab() -> AsyncIterator[Tab]:
    """A window of 1280 by 900."""
    async with chromium() as made:
        await made.size(1280, 900)
        yield made


async def violations(tab: Tab) -> list[str]:
    """What axe-core finds wrong on the page as it is."""
    if not AXE.exists():
        pytest.fail("axe-core isn't there: `make axe` fetches it")
    await tab.value(AXE.read_text() + "; 0")
    found = json.loads(await tab.value("axe.run().then((found) => JSON.stringify(found.violations))"))
    return [f"{one['id']} ({one['impact']}): {place['html'][:160]}" for one in found for place in one["nodes"]]
