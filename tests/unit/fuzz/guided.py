"""Let Atheris choose inputs by the branches of the parsers that they reach."""

import importlib
import json
import sys
from typing import Any

from tests.unit.fuzz.parsers import Parser
from tests.unit.fuzz.run import Count, judge


def run(parser: Parser, number: int) -> int:
    """Feed so many inputs; return the exit status. A fault ends the process with its input in a file."""
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        print(
            "--coverage: Atheris isn't installed; accepted: `pip install atheris`, or without --coverage",
            file=sys.stderr,
        )
        return 2
    count = Count()

    def one(content: bytes) -> None:
        if isinstance(parser.sample, bytes):
            judge(parser, content, count)
            return
        text = content.decode(errors="surrogateescape").encode(errors="replace").decode()
        if not parser.document:
            judge(parser, text, count)
            return
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return
        judge(parser, document, count)

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-runs={number}", "-max_len=8192"], one)
    atheris.Fuzz()
    return 0
