"""Commands on a terminal of 80 columns: what they write, and pictures of it."""

import asyncio
import contextlib
import fcntl
import html
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from tests.chart.rendering import ROOT
from tests.page.browser import chromium

COLUMNS, ROWS = 80, 50
PATIENCE = 120.0
_ESCAPE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")
_COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "36": "#79c0ff", "1": "bold", "2": "dim"}


@dataclass(frozen=True, slots=True)
class Output:
    """What a command wrote on its terminal."""

    command: str
    status: int
    text: str
    """With escape sequences; standard output and error as they came."""

    @property
    def lines(self) -> list[str]:
        """The lines without escape sequences."""
        return _ESCAPE.sub("", self.text).replace("\r", "").rstrip("\n").split("\n")

    @property
    def widest(self) -> int:
        """Columns of the longest line."""
        return max(sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in line) for line in self.lines)


def run(*arguments: str, **environment: str) -> Output:
    """Run `kubectl unigpu …` on a terminal of its own."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    kept = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR", "KUBECONFIG")}
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=ROOT,
        env={**kept, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **environment},
        start_new_session=True,
    )
    os.close(follower)
    found = b""
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(OSError):  # the terminal ends with its last program
        while time.monotonic() < deadline:
            if select.select([leader], [], [], 0.5)[0]:
                chunk = os.read(leader, 65536)
                if not chunk:
                    break
                found += chunk
    os.close(leader)
    return Output(" ".join(["kubectl unigpu", *arguments]), process.wait(PATIENCE), found.decode())


async def picture(outputs: list[Output], path: Path) -> None:
    """Draw what commands wrote, one after the other."""
    parts = [
        f"<b>$ {html.escape(one.command)}</b>\n{_html(one.text)}<span class=dim>[{one.status}]</span>"
        for one in outputs
    ]
    style = (
        "body{margin:0;background:#0d1117;color:#e6edf3;font:14px/1.25 'DejaVu Sans Mono',monospace}"
        f"pre{{margin:12px;width:{COLUMNS}ch;border-right:1px dashed #444;white-space:pre-wrap;"
        f"word-break:break-all}}.dim{{color:#8b949e}}"
    )
    content = "\n\n".join(parts)
    page = path.with_suffix(".html")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f"<!doctype html><meta charset=utf-8><style>{style}</style><pre>{content}</pre>"
    await asyncio.to_thread(page.write_text, text)
    async with chromium() as tab:
        await tab.size(760, 400)
        await tab.open(f"file://{page}")
        await tab.picture(path)
    await asyncio.to_thread(page.unlink)


def _html(text: str) -> str:
    """The text with its colours, and nothing else that escape sequences do."""
    made, opened, place = [], 0, 0
    text = text.replace("\r", "")
    for found in _ESCAPE.finditer(text):
        made.append(html.escape(text[place : found.start()]))
        place = found.end()
        if found[2] != "m":
            continue
        if found[1] in ("", "0"):
            made.append("</span>" * opened)
            opened = 0
            continue
        colour = _COLOURS.get(found[1], "")
        style = {"bold": "font-weight:bold", "dim": "color:#8b949e"}.get(colour, f"color:{colour}")
        made.append(f'<span style="{style}">')
        opened += 1
    return "".join(made) + html.escape(text[place:]) + "</span>" * opened
