"""How requests reach the API server: directly or by a proxy, and with which credentials."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from unigpu_kube import client, session

VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own proxies stay out of these tests."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("address", "environment", "proxy"),
    [
        ("https://10.0.0.1:6443", {}, None),
        ("https://10.0.0.1:6443", {"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://10.0.0.1:6443", {"HTTP_PROXY": "http://proxy:3128"}, None),
        ("http://10.0.0.1:8080", {"HTTP_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://10.0.0.1:6443", {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "10.0.0.1"}, None),
        ("https://api.example:6443", {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".example"}, None),
        ("https://api.example:6443", {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "other"}, "http://proxy:3128"),
    ],
)
def test_the_proxy_is_the_environments(
    monkeypatch: pytest.MonkeyPatch, address: str, environment: dict[str, str], proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert session.proxy_of(address) == proxy


class Peer:
    """Notes for which host, and with which credentials, it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.host, request.headers.get("Authorization")))
        return web.json_response({"kind": "Node"})


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """A server that answers every request, as an API server or as a proxy."""
    found = Peer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


async def test_requests_go_by_the_proxy(monkeypatch: pytest.MonkeyPatch, peer: Peer) -> None:
    monkeypatch.setenv("HTTP_PROXY", peer.url)
    async with client.as_bearer("http://api.example", "secret") as api:
        await api.get("/api/v1/nodes/one")
    assert peer.asked == [("api.example", "Bearer secret")]


async def test_a_netrc_gives_no_credentials(monkeypatch: pytest.MonkeyPatch, peer: Peer, tmp_path: Path) -> None:
    """One that is for every host would be sent in place of a client certificate, and refused next to a token."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    config = tmp_path / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "one", "cluster": {"server": peer.url}}],
                "users": [{"name": "one", "user": {}}],
                "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
                "current-context": "one",
            }
        )
    )
    async with client.connect(config) as api:
        await api.get("/api/v1/nodes/one")
    async with client.as_bearer(peer.url, "secret") as api:
        await api.get("/api/v1/nodes/one")
    assert [credentials for _, credentials in peer.asked] == [None, "Bearer secret"]
