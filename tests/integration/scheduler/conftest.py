"""What the scheduler's integration tests share."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.scheduler.apiserver import ApiServer


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    """An API server without nodes and pods."""
    server = ApiServer()
    await server.start()
    yield server
    await server.stop()
