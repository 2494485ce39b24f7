"""`kubectl unigpu doctor` as a command: arguments, requests to the API server, output."""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator

from cli import options, text
from cli.doctor import check, control, moving, node_checks, pod_checks
from cli.doctor.check import Finding, Level
from cli.doctor.evidence import Evidence
from unigpu import errors, names
from webhook.translation.options import Options

ABOUT = (
    "Checks the installation: API server, webhook, certificates, node agents, inventories, capacity, GPUs, other "
    "device plugins, quotas and limit ranges on vendors' names, pods that the webhook never saw. Each line says ok, "
    "warn or fail, and what to do. It changes nothing. Exit status: 0 all ok, 1 a warning, 2 a failure, or the "
    "cluster doesn't answer. With --from-cluster it instead reports, for a cluster without unigpu: its GPU pods and "
    "what becomes of each, other GPU software, and what else speaks vendors' names; 0 all pods can move, 1 some change "
    "or aren't created again, 2 some are refused."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    options.system(parser, names.SYSTEM_NAMESPACE)
    parser.add_argument(
        "--from-cluster",
        action="store_true",
        help="report what a move to unigpu would change in this cluster, which needn't have it yet",
    )
    options.meaning(parser)
    options.output(parser, "table", "json")
    options.connection(parser)


def run(given: argparse.Namespace) -> int:
    """Check; return the exit status."""
    if given.from_cluster:
        try:
            choices = options.choices(given)
        except errors.Malformed as error:
            print(f"error: {error}", file=sys.stderr)
            return check.STATUS[Level.FAIL]
        return asyncio.run(_move(given, choices))
    return asyncio.run(_run(given))


async def _run(given: argparse.Namespace) -> int:
    # Not at the top: Kubernetes' client takes longer to load than a translation.
    from cli import api_client
    from cli.doctor import read

    async with api_client.connected(given.kubeconfig, given.context) as api:
        findings = list(examine(await read.evidence(api, given.system_namespace)))
    if given.output == "json":
        print(json.dumps(check.document(findings), indent=2))
    else:
        for line in check.lines(findings, text.style()):
            print(line)
    return check.STATUS[check.worst(findings)]


async def _move(given: argparse.Namespace, choices: Options) -> int:
    from cli import api_client
    from cli.doctor import moving_read

    async with api_client.connected(given.kubeconfig, given.context) as api:
        report = await moving_read.report(api, choices)
    if given.output == "json":
        print(json.dumps(moving.document(report), indent=2))
    else:
        for line in moving.lines(report, text.style()):
            print(line)
    return moving.status(report)


def examine(found: Evidence) -> Iterator[Finding]:
    """Yield the findings of all checks."""
    yield from control.checks(found)
    yield from node_checks.checks(found)
    yield from pod_checks.checks(found)
