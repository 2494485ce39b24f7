"""An API server that answers from a table of paths, for what a real one can't easily be brought to."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from aiohttp import web

Answer = tuple[int, Any]
"""Status and body; text is sent as it is."""


class FakeApi:
    """Runs in a thread of its own, because the command line brings its own loop."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[web.Request], Answer]] = {}
        """By path, without the query."""
        self.asked: list[str] = []
        """Paths with queries, in order."""
        self.warnings: list[str] = []
        """Headers of every answer."""
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        answer = self.answers.get(urlsplit(request.path_qs).path, (404, {"message": f"{request.path} not found"}))
        status, body = answer(request) if callable(answer) else answer
        response = (
            web.Response(status=status, text=body) if isinstance(body, str) else web.json_response(body, status=status)
        )
        for warning in self.warnings:
            response.headers.add("Warning", f'299 - "{warning}"')
        return response

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[Path]:
        """Serve while the context lasts; yield a kubeconfig."""
        loop, ready = asyncio.new_event_loop(), threading.Event()
        thread = threading.Thread(target=self._serve, args=(loop, ready))
        thread.start()
        try:
            assert ready.wait(60)
            kubeconfig = folder / "fake-kubeconfig"
            kubeconfig.write_text(yaml.safe_dump(self._kubeconfig()))
            yield kubeconfig
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _serve(self, loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
        asyncio.set_event_loop(loop)
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        loop.run_until_complete(runner.setup())
        loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.port = runner.addresses[0][1]
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    def _kubeconfig(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "fake", "user": {"token": "x"}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": "team"}}],
        }


def table(*rows: tuple[str, dict[str, Any]]) -> Answer:
    """A table of nodes: condition and metadata."""
    columns = [{"name": "Name"}, {"name": "Status"}]
    made = [{"cells": [about.get("name"), condition], "object": {"metadata": about}} for condition, about in rows]
    return 200, {"metadata": {}, "columnDefinitions": columns, "rows": made}


def items(*found: dict[str, Any]) -> Answer:
    """A list."""
    return 200, {"metadata": {}, "items": list(found)}
