"""`kubectl unigpu explain` as a command: arguments, requests to the API server, output."""

import argparse
import asyncio

from cli import options, text
from cli.explain import report, waiting

DONE = 0
ABOUT = (
    "Explains a pod: what its author asked for, what the webhook made of it, which GPUs the scheduler chose, what is "
    "enforced now, each with its source. For a pod that waits: why, GPU by GPU, and what would help. Exit status: 0 "
    "explained, 1 no such pod, or no right to read it, 2 the cluster doesn't answer."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("pod", metavar="POD", help="name of the pod, or pod/NAME")
    options.namespace(parser)
    parser.add_argument(
        "--nodes",
        type=int,
        default=waiting.MOST_NODES,
        metavar="NUMBER",
        help="nodes to explain GPU by GPU for a pod that waits; the rest is counted by reason (default: %(default)s)",
    )
    options.connection(parser)


def run(given: argparse.Namespace) -> int:
    """Explain; return the exit status."""
    return asyncio.run(_run(given))


async def _run(given: argparse.Namespace) -> int:
    # Not at the top: Kubernetes' client takes longer to load than a translation.
    from cli import api_client, kubeconfig
    from cli.explain import read

    namespace = given.namespace or kubeconfig.namespace(given.kubeconfig, given.context)
    name = given.pod.removeprefix("pod/").removeprefix("pods/").removeprefix("po/")
    async with api_client.connected(given.kubeconfig, given.context) as api:
        sections = await read.sections(api, namespace, name, given.nodes)
    for line in report.lines(sections, text.style()):
        print(line)
    return DONE
