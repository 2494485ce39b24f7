"""Control planes with played nodes. `make kwok` builds what plays them."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.fleet import control_plane
from bench.fleet.control_plane import ControlPlane
from cluster import settings


@pytest.fixture
def soak() -> bool:
    """Whether tests are to run at length."""
    return bool(os.environ.get("UNIGPU_SOAK"))


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    """A control plane with the webhook, without nodes and without a scheduler."""
    for program in ("kube-apiserver", "kwok"):
        assert (settings.BIN / program).exists(), f"{program} is missing: run `make cluster kwok`"
    async with control_plane.running(tmp_path / "fleet") as running:
        await running.start_webhook()
        yield running
