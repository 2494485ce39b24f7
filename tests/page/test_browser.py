"""The page as people see and use it: its states, keyboard alone, an accessibility checker, narrow, dark and light."""

from collections.abc import Callable

import pytest

from tests.integration.cli.fake_api import FakeApi
from tests.integration.page.conftest import TOKEN, Page, serving
from tests.page import clusters
from tests.page.browser import Tab
from tests.page.conftest import PICTURES, violations

DRAWN = "performance.getEntriesByName('all').length && !document.getElementById('view').hidden"
FOCUS = "document.activeElement.id || document.activeElement.dataset.key || document.activeElement.tagName"
STATES: dict[str, tuple[Callable[[FakeApi], None], str, list[str]]] = {
    "empty": (clusters.empty, DRAWN, ["0 of 192 GiB", "No container has a GPU", "gpu-1"]),
    "busy": (clusters.busy, DRAWN, ["vision", "in use", "40 % busy", "Unschedulable", "team/large-batch"]),
    "faults": (
        clusters.faults,
        DRAWN,
        [
            "Unhealthy: XID 79",
            "3 GiB in use without a grant",
            "Cordoned: row remapping pending",
            "More is granted than the GPU has",
            "NotReady: it takes no new pods",
            "inventory doesn't have this GPU",
            "Live use isn't shown",
            "Prometheus' history isn't shown",
            "GpuUnhealthy",
        ],
    ),
    "no-rights": (
        clusters.no_rights,
        "document.getElementById('failure').textContent.includes('right')",
        ["You don't have the right to do this", "Choose a namespace"],
    ),
}


def server(fake: FakeApi) -> str:
    return f"http://127.0.0.1:{fake.port}"


async def sign_in(tab: Tab, page: Page, token: str = TOKEN) -> None:
    """Open the page and type a token, with the keyboard alone."""
    await tab.open(page.address)
    await tab.until("!document.getElementById('sign-in').hidden")
    await reach(tab, "token")
    await tab.write(token)
    await tab.press("Enter")


async def reach(tab: Tab, wanted: str, *, most: int = 80) -> None:
    """Press Tab until the element with this id or key has the focus."""
    for _ in range(most):
        if await tab.value(FOCUS) == wanted:
            return
        await tab.press("Tab")
    raise AssertionError(f"Tab never reaches {wanted}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
async def test_each_state_is_said_and_accessible(tab: Tab, fake: FakeApi, state: str, scheme: str) -> None:
    made, ready, texts = STATES[state]
    made(fake)
    await tab.scheme(scheme)
    async with serving(server(fake), prometheus="monitoring/prometheus:web") as page:
        await sign_in(tab, page)
        await tab.until(ready)
        said = await tab.value("document.body.innerText")
        assert [text for text in texts if text not in said] == [], said
        assert await violations(tab) == []
        await tab.picture(PICTURES / f"{state}-{scheme}.png")
        assert tab.problems == []


async def test_a_token_is_asked_for_and_stays_out_of_addresses_and_storage(tab: Tab, fake: FakeApi) -> None:
    clusters.busy(fake)
    async with serving(server(fake), prometheus="monitoring/prometheus:web") as page:
        await tab.open(page.address)
        await tab.until("!document.getElementById('sign-in').hidden")
        assert await violations(tab) == []
        await tab.picture(PICTURES / "sign-in.png")
        await sign_in(tab, page)
        await tab.until(DRAWN)
        everything = await tab.value(
            "JSON.stringify([location.href, history.state, document.cookie, {...localStorage}, {...sessionStorage},"
            " performance.getEntriesByType('resource').map((one) => one.name), document.documentElement.outerHTML])"
        )
        assert TOKEN not in everything and page.address in everything


async def test_the_keyboard_is_enough(tab: Tab, fake: FakeApi) -> None:
    clusters.busy(fake)
    async with serving(server(fake), prometheus="monitoring/prometheus:web") as page:
        await sign_in(tab, page)
        await tab.until(DRAWN)
        assert await tab.value(FOCUS) == "view", "the focus is where one goes on"
        await reach(tab, "wait-team/large-batch")
        await tab.press("Enter")
        await tab.until("document.body.innerText.includes('What would help')")
        assert await tab.value(FOCUS) == "wait-team/large-batch", "drawing again leaves the focus where it was"
        assert "20480" in await tab.value("document.getElementById('pending').innerText")
        await reach(tab, "search")
        await tab.write("trainer-3-")
        await tab.until("document.getElementById('found').textContent === '1 node, page 1 of 1'")
        await reach(tab, clusters.UUIDS[1][1])
        await tab.press("Space")
        await tab.until("document.body.innerText.includes('research/trainer-3-')")
        assert "700 MiB" in await tab.value("document.querySelector('.more').innerText")
        assert await violations(tab) == []
        await tab.picture(PICTURES / "keyboard.png")
        await reach(tab, "tenant-vision")
        await tab.press("Enter")
        await tab.until("document.getElementById('namespace').value === 'vision'")
        await tab.until("!document.getElementById('list').innerText.includes('large')")
        await tab.press("Tab", shift=True)
        assert tab.problems == []


async def test_signing_out_leaves_nothing(tab: Tab, fake: FakeApi) -> None:
    clusters.busy(fake)
    async with serving(server(fake), prometheus="monitoring/prometheus:web") as page:
        await sign_in(tab, page)
        await tab.until(DRAWN)
        await tab.value("document.getElementById('leave').click()")
        await tab.until("!document.getElementById('sign-in').hidden")
        assert "vision" not in await tab.value("document.documentElement.outerHTML")
        assert await tab.value(FOCUS) == "token"


async def test_a_refused_token_is_said(tab: Tab, fake: FakeApi) -> None:
    fake.answers[clusters.REVIEW] = (401, {"message": "Unauthorized"})
    async with serving(server(fake)) as page:
        await sign_in(tab, page)
        await tab.until("document.getElementById('failure').textContent.includes(\"doesn't accept this token\")")
        assert not await tab.value("document.getElementById('sign-in').hidden")


async def test_a_cluster_that_goes_away_leaves_the_last_answer_and_says_so(tab: Tab, fake: FakeApi) -> None:
    clusters.busy(fake)
    async with serving(server(fake), prometheus="monitoring/prometheus:web", refresh=0.01) as page:
        await sign_in(tab, page)
        await tab.until(DRAWN)
        fake.answers["/api/v1/pods"] = (500, {"message": "etcd is gone"})
        await tab.value("document.getElementById('pause').click(); document.getElementById('pause').click()")
        await tab.until("document.getElementById('failure').textContent.includes('last answer')")
        assert "vision" in await tab.value("document.getElementById('view').textContent")


@pytest.mark.parametrize("width", [360, 768])
async def test_a_narrow_window_scrolls_no_page_sideways(tab: Tab, fake: FakeApi, width: int) -> None:
    clusters.faults(fake)
    await tab.size(width, 800)
    async with serving(server(fake)) as page:
        await sign_in(tab, page)
        await tab.until(DRAWN)
        assert await tab.value("document.documentElement.scrollWidth") <= width
        await tab.picture(PICTURES / f"width-{width}.png")
