"""`kubectl unigpu status` as a command: arguments, requests to the API server, output."""

import argparse
import asyncio
import gc
import sys
from datetime import UTC, datetime

import orjson
import yaml

from cli import options, text
from cli.status import document, render
from cli.status.view import View

DONE, NO_GPUS = 0, 1
ABOUT = (
    "Shows every GPU of the cluster with what is granted and free, its health, the containers that share it, and the "
    "pods that wait for one. Granted is what the scheduler counts; free is what new shares can get. Exit status: 0 "
    "shown, 1 refused, or no such node, 2 the cluster doesn't answer."
)
_FORMS = ("table", "wide", "json", "yaml")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "-n", "--namespace", default="", metavar="NAME", help="show only containers and pods of this namespace"
    )
    which.add_argument(
        "-A",
        "--all-namespaces",
        action="store_true",
        help="all namespaces, or an error without the right to list their pods (default: all that may be listed)",
    )
    parser.add_argument("--node", default="", metavar="NAME", help="show only this node")
    parser.add_argument(
        "--by",
        choices=render.BY,
        default=render.BY[0],
        help="how much detail the table has (default: %(default)s)",
    )
    options.output(parser, *_FORMS)
    parser.add_argument("-w", "--watch", action="store_true", help="refresh the output until interrupted")
    options.refresh(parser)
    options.connection(parser)


def run(given: argparse.Namespace) -> int:
    """Show; return the exit status."""
    return asyncio.run(_run(given))


async def _run(given: argparse.Namespace) -> int:
    # Not at the top: Kubernetes' client takes longer to load than a translation.
    from cli import api_client, kubeconfig, screen
    from cli.status import read

    own = given.namespace or kubeconfig.namespace(given.kubeconfig, given.context)
    async with api_client.connected(given.kubeconfig, given.context) as api:

        async def seen() -> View:
            return await read.cluster(
                api, own, namespace=given.namespace, everywhere=given.all_namespaces, node=given.node
            )

        if given.watch:

            async def draw() -> list[str]:
                return output(await seen(), given.output, given.by)

            await screen.refresh(draw, given.interval)
        gc.disable()  # a large cluster makes millions of objects, and the program ends soon
        found = await seen()
    if given.node and not found.nodes:
        whose = f" with containers of namespace {found.namespace}" if found.namespace else ""
        print(f"error: there is no node {given.node} with GPUs{whose}", file=sys.stderr)
        return NO_GPUS
    sys.stdout.writelines(f"{line}\n" for line in output(found, given.output, given.by))
    return DONE


def output(view: View, form: str, by: str) -> list[str]:
    """Return the lines of the view in the form."""
    style = text.style()
    match form:
        case "json":
            return [orjson.dumps(document.document(view), option=orjson.OPT_INDENT_2).decode()]
        case "yaml":
            return [yaml.safe_dump(document.document(view), sort_keys=False, allow_unicode=True).rstrip()]
        case "wide":
            return [*render.wide(view, style), *render.pending(view, style, datetime.now(UTC))]
        case _:
            return list(render.tree(view, style, datetime.now(UTC), by))
