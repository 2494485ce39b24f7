"""`kubectl unigpu translate` as a command: arguments, files, output. It asks no cluster."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence

from cli import manifests, options, render, translate
from cli.translate import Translated
from unigpu import errors

UNDERSTOOD, REFUSED, UNREADABLE = 0, 1, 2
ABOUT = (
    "Shows the pods that admission would make of manifests, without a cluster. Exit status: 0 all understood, "
    "1 a pod would be refused, 2 a file can't be read, or asks for GPUs in a place that can't be judged."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        required=True,
        metavar="FILE|-|FOLDER",
        help="manifests to read; may be repeated",
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=["yaml", "json", "diff"],
        help="form of the output (default: diff on a terminal, else yaml)",
    )
    options.meaning(parser)
    parser.add_argument(
        "--no-opting-out",
        action="store_true",
        help="refuse pods that switch isolation off, with CGPU_DISABLE for instance",
    )
    parser.add_argument(
        "--scheduler",
        action="append",
        default=[],
        metavar="NAME",
        help="schedulerName whose pods unigpu takes over; may be repeated",
    )


def run(given: argparse.Namespace) -> int:
    """Translate and print; return the exit status."""
    try:
        choices = options.choices(given)
    except errors.Malformed as error:
        print(f"error: {error}", file=sys.stderr)
        return UNREADABLE
    choices = dataclasses.replace(
        choices,
        opting_out=choices.opting_out and not given.no_opting_out,
        schedulers=choices.schedulers | frozenset(given.scheduler),
    )
    code = UNDERSTOOD
    translated: list[Translated] = []
    for manifest in manifests.read(given.filename):
        try:
            if isinstance(manifest, errors.Malformed):
                raise manifest
            item = translate.translate(manifest, choices)
        except errors.Malformed as error:
            print(f"error: {error}", file=sys.stderr)
            code = UNREADABLE
            continue
        translated.append(item)
        for remark in item.remarks:
            print(remark, file=sys.stderr)
        for refusal in item.refusals:
            print(f"refused: {refusal}", file=sys.stderr)
            code = max(code, REFUSED)
        for field in item.unjudged:
            print(f"not judged: {field}", file=sys.stderr)
            code = UNREADABLE
    sys.stdout.write(_output(translated, given.output))
    sys.stdout.flush()
    return code


def _output(translated: Sequence[Translated], form: str | None) -> str:
    terminal = sys.stdout.isatty()
    match form or ("diff" if terminal else "yaml"):
        case "json":
            return render.as_json(translated)
        case "diff":
            return render.as_diff(translated, colour=terminal and "NO_COLOR" not in os.environ)
        case _:
            return render.as_yaml(translated)
