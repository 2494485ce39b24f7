"""A headless Chromium, driven by its own debugging protocol: pages, keys, pictures.

Source: https://chromedevtools.github.io/devtools-protocol (domains Page, Runtime, Input, Emulation).
"""

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

PATIENCE = 90.0
"""Seconds for anything; far more than an idle machine needs."""
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # the tests run as root in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "Space": (32, " "),
    "ArrowDown": (40, ""),
    "Escape": (27, ""),
}


class Tab:
    """One page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.problems: list[str] = []
        """What the page's console said that a person should look at."""

    async def listen(self) -> None:
        """Take answers and events. Returns where the browser ends."""
        async for message in self._socket:
            document = json.loads(message.data)
            if "id" in document and (waiting := self._waiting.pop(document["id"], None)) is not None:
                if not waiting.done():
                    waiting.set_result(document)
            elif document.get("method") == "Runtime.exceptionThrown":
                self.problems.append(str(document["params"]["exceptionDetails"]))
            elif document.get("method") == "Log.entryAdded":
                entry = document["params"]["entry"]
                # A refused request is what some tests are about.
                if entry["level"] == "error" and entry["source"] != "network":
                    self.problems.append(str(entry["text"]))

    async def call(self, method: str, **parameters: Any) -> Any:
        """Call the protocol and return its answer."""
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        document = await asyncio.wait_for(answer, PATIENCE)
        if "error" in document:
            raise AssertionError(f"{method}: {document['error']}")
        return document["result"]

    async def open(self, address: str) -> None:
        """Open an address, and wait until its files are loaded."""
        await self.call("Page.enable")
        await self.call("Runtime.enable")
        await self.call("Log.enable")
        await self.call("Page.navigate", url=address)
        await self.until(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(address)})")

    async def value(self, expression: str) -> Any:
        """Return what an expression of JavaScript gives; a promise is awaited."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Return the expression's value once it is true."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            found = await self.value(expression)
            if found:
                return found
            if asyncio.get_running_loop().time() > deadline:
                body = await self.value("document.body.innerText")
                raise AssertionError(f"never true: {expression}; the page says:\n{body}")
            await asyncio.sleep(0.05)

    async def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key."""
        code, text = KEYS[key]
        name = " " if key == "Space" else key
        more = {"key": name, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        await self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **more)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **more)

    async def write(self, text: str) -> None:
        """Write a text where the focus is."""
        await self.call("Input.insertText", text=text)

    async def size(self, width: int, height: int) -> None:
        """Set the window's size."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def scheme(self, kind: str) -> None:
        """Prefer `dark` or `light` colours."""
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": kind}])

    async def picture(self, path: Path, *, whole: bool = True) -> None:
        """Write a picture of the page."""
        answer = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        await asyncio.to_thread(_write, path, base64.b64decode(answer["data"]))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Tab]:
    """Start the browser with one empty page; fails the test where it isn't installed."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("no chromium: install the Debian package chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            program,
            *_OPTIONS,
            f"--user-data-dir={folder}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            port = await _port(Path(folder), process)
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                    (page,) = (one for one in await response.json() if one["type"] == "page")
                async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    tab = Tab(socket)
                    listening = asyncio.create_task(tab.listen())
                    try:
                        yield tab
                    finally:
                        listening.cancel()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _port(folder: Path, process: asyncio.subprocess.Process) -> int:
    file = folder / "DevToolsActivePort"
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while asyncio.get_running_loop().time() < deadline:
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        assert process.returncode is None, "chromium ended"
        await asyncio.sleep(0.05)
    raise AssertionError("chromium doesn't start")
