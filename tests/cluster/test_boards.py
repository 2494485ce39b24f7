"""The chart's boards over a cluster with pods, faults and strangers: every panel has data. Pictures in build/boards."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import install
from demo.kube import TimedOut, wait_for
from tests.cluster import board_renderer
from tests.cluster.monitoring import NAMESPACE, PATIENCE, ROOT, Watched
from tests.cluster.test_alerts import breaching, forged, full, in_node, throttled
from tests.page.browser import chromium
from unigpu import names

PICTURES = ROOT / "build" / "boards"
BOARDS = {file.stem: json.loads(file.read_text()) for file in (install.CHART / "dashboards").glob("*.json")}
QUIET = {
    "cluster": {"Nodes with the most fragmentation"},
    "node": {"Fragmentation", "Node agent: why it isn't ready"},
}
"""Panels that are empty while nothing is wrong: where a node isn't fragmented, and its agent is ready."""


@pytest.fixture(scope="module")
def busy(watched: Watched) -> Iterator[Watched]:
    """Programs that work, wait, are refused and breach, and a GPU that has failed."""
    with contextlib.ExitStack() as stack:
        for provoked in (full, throttled, breaching, forged):
            stack.enter_context(provoked(watched))
        in_node("simulator", "inject", "--gpu", "3", "--lost")
        stack.callback(in_node, "simulator", "inject", "--gpu", "3", "--found")
        for what, expression in {
            "throttled": f"rate({names.METRIC_THROTTLED_SECONDS}[20s]) > 0.1",
            "refused": f"rate({names.METRIC_ALLOCATION_FAILURES}[20s]) > 0",
            "breach": names.METRIC_CONTAINER_BREACH,
            "fault": names.METRIC_GPU_FAULT,
            "forged": f'increase({names.METRIC_WEBHOOK_REVIEWS}{{outcome="forged"}}[60s]) > 0',
        }.items():
            wait_for(f"{what} is scraped", lambda: watched.prometheus.instant(expression), PATIENCE)  # noqa: B023
        yield watched


@pytest.mark.parametrize("name", BOARDS)
async def test_every_panel_has_data(busy: Watched, name: str, tmp_path: Path) -> None:
    board = BOARDS[name]
    wanted = {"namespace": NAMESPACE, "pod": "throttled"}
    chosen = board_renderer.choices(board, busy.prometheus, wanted)
    quiet = QUIET.get(name, set())

    def draw() -> board_renderer.Drawn:
        return board_renderer.draw(board, busy.prometheus, chosen)

    # Curves have a point every 5 s, so what is new appears in them a bit later.
    with contextlib.suppress(TimedOut):
        wait_for("every panel has data", lambda: set(draw().empty) <= quiet, PATIENCE)
    drawn = draw()
    page = tmp_path / f"{name}.html"
    page.write_text(drawn.page)
    async with chromium() as tab:
        await tab.size(1500, 900)
        await tab.open(f"file://{page}")
        await tab.picture(PICTURES / f"{name}.png")
    assert set(drawn.empty) - quiet == set()
