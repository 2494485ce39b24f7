"""The page before an API server that is played, asked over HTTP."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from page import app
from page.settings import Settings
from tests.integration.cli.fake_api import FakeApi
from unigpu_service import runtime

TOKEN = "token-of-a-viewer"
Json = dict[str, Any]


class Page:
    """The page's address, and what it answers."""

    def __init__(self, address: str, metrics: str, session: aiohttp.ClientSession) -> None:
        self.address, self.metrics, self.session = address, metrics, session

    async def ask(self, path: str, token: str = TOKEN, **headers: str) -> tuple[int, Any, aiohttp.ClientResponse]:
        """Status, body and response."""
        given = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.get(f"{self.address}{path}", headers={**given, **headers}) as response:
            is_json = response.content_type == "application/json" and response.status != 304
            return response.status, await (response.json() if is_json else response.text()), response


@contextlib.asynccontextmanager
async def serving(address: str, **more: Any) -> AsyncIterator[Page]:
    """Run the page in this process."""
    chosen = Settings(api_server=address, port=0, metrics_port=0, host="127.0.0.1", **more)
    async with (
        runtime.supervise() as supervisor,
        app.serve(chosen, supervisor) as ports,
        aiohttp.ClientSession() as session,
    ):
        yield Page(f"http://127.0.0.1:{ports.page}", f"http://127.0.0.1:{ports.metrics}", session)


@pytest.fixture
def fake(tmp_path: Path) -> Any:
    """The played API server."""
    api = FakeApi()
    with api.running(tmp_path):
        yield api
