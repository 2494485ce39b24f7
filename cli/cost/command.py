"""`kubectl unigpu cost` as a command: arguments, requests to Prometheus, output."""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from cli import options, text
from cli.cost import queries, report
from cli.cost.queries import Pods, Slice
from unigpu import errors

if TYPE_CHECKING:
    from cli.prometheus import Get

DONE = 0
ABOUT = (
    "Says what namespaces, pods or dialects had of GPUs over a time, and what that costs: GPU time that was charged, "
    "GPU time that was reserved (of memory and compute the larger part of each GPU), and memory that was reserved. The "
    "numbers come from a Prometheus that scrapes unigpu's exporters. Exit status: 0 shown, 1 refused, 2 Prometheus or "
    "the cluster doesn't answer."
)
_TIMEOUT = 120.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--prometheus",
        required=True,
        metavar="URL|NAMESPACE/NAME:PORT",
        help="address of Prometheus, or its service, which is asked through the API server",
    )
    parser.add_argument(
        "--since",
        type=_of(report.duration),
        default=30 * 86400,
        metavar="TIME",
        help="how far back: 90m, 12h, 30d, 4w (default: 30d)",
    )
    parser.add_argument(
        "--price",
        type=_of(report.price),
        default=None,
        metavar="PRICE",
        help="price of one GPU: 2.5/h, or /s, /m, /d; without it no cost is shown",
    )
    parser.add_argument(
        "--basis",
        choices=report.BASES,
        default=report.BASES[0],
        help="what the price is for: GPU time kept for a pod, or used by it (default: %(default)s)",
    )
    parser.add_argument("--by", choices=report.BY, default=report.BY[0], help="what a line is (default: %(default)s)")
    parser.add_argument("-n", "--namespace", default="", metavar="NAME", help="show only this namespace (default: all)")
    options.output(parser, "table", "csv", "json")
    options.connection(parser)


def _of(read: Callable[[str], float]) -> Callable[[str], float]:
    """The reader of an argument, whose words argparse shows."""

    def parse(given: str) -> float:
        try:
            return read(given)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def run(given: argparse.Namespace) -> int:
    """Report; return the exit status."""
    return asyncio.run(_run(given))


async def _run(given: argparse.Namespace) -> int:
    end = int(time.time())
    start = end - given.since
    pods: Pods = {}
    async with _asking(given) as get:
        for part in queries.slices(start, end):
            await collect(get, part, given.namespace, pods)
    found = report.report(pods, start, end, given.by, given.basis, given.price)
    if not pods:
        print(
            "Prometheus has no containers with GPUs in that time: does it scrape unigpu's exporters, and has it kept "
            "as much?",
            file=sys.stderr,
        )
    match given.output:
        case "json":
            print(json.dumps(report.document(found), indent=2))
        case "csv":
            print(report.as_csv(found), end="")
        case _:
            for line in report.table(found, text.style()):
                print(line)
    return DONE


async def collect(get: "Get", part: Slice, namespace: str, pods: Pods) -> None:
    """Add what pods had in a slice; one that is too much for Prometheus is asked for in halves. Raises Denied."""
    from cli import prometheus

    asked = queries.expressions(part, namespace)
    try:
        answers = {name: await prometheus.instant(get, query, part.end) for name, query in asked.items()}
    except errors.Denied as error:
        if "too many samples" not in str(error) or part.seconds <= queries.SHORTEST:
            raise
        for half in part.halves():
            await collect(get, half, namespace, pods)
        return
    queries.add(pods, answers)


@contextlib.asynccontextmanager
async def _asking(given: argparse.Namespace) -> AsyncIterator["Get"]:
    # Not at the top: Kubernetes' client takes longer to load than a translation.
    from cli import api_client, prometheus

    if "://" in given.prometheus:
        async with prometheus.at(given.prometheus, _TIMEOUT) as get:
            yield get
        return
    path = prometheus.service(given.prometheus)
    async with api_client.connected(given.kubeconfig, given.context) as api:
        api.deadline = _TIMEOUT
        yield prometheus.through_api_server(api, path)
