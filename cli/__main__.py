"""`kubectl unigpu …`: arguments → command → exit code. Errors are printed here and nowhere else."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from cli import limit_command, manifests, render, status, translate
from cli.translate import Translated
from unigpu import errors
from webhook.translation.options import AliyunUnit, BareGpu, Options

UNDERSTOOD, REFUSED, UNREADABLE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. argparse itself ends with 2 for arguments that it doesn't know."""
    parser = argparse.ArgumentParser(prog="kubectl unigpu", description="Share GPUs among containers.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _translate_arguments(
        commands.add_parser(
            "translate", help="show how unigpu understands manifests of any vendor", description=_TRANSLATE
        )
    )
    limit_command.connection_arguments(
        commands.add_parser("status", help="show which containers share which GPU", description=_STATUS)
    )
    limit_command.arguments(
        commands.add_parser("limit", help="change a running pod's limits", description=limit_command.ABOUT)
    )
    given = parser.parse_args(arguments)
    run = {"translate": _translate, "status": _status, "limit": limit_command.run}[given.command]
    try:
        return run(given)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNDERSTOOD
    except KeyboardInterrupt:
        return 130


_TRANSLATE = (
    "Shows the pods that admission would make of manifests, without a cluster. Exit status: 0 all understood, "
    "1 a pod would be refused, 2 a file can't be read."
)


_STATUS = "Shows every GPU of the cluster and the containers that have a share of it, as the scheduler gave them."


def _status(given: argparse.Namespace) -> int:
    from cli import api_client  # not at the top: Kubernetes' client takes longer to load than a translation

    try:
        nodes, pods = asyncio.run(api_client.nodes_and_pods(given.kubeconfig, given.context))
    except errors.UnigpuError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNREADABLE
    found = status.gpu_tenants(nodes, pods)
    if not found:
        print("no node has an inventory of GPUs: is the node agent running?", file=sys.stderr)
    sys.stdout.write(status.table(found))
    return UNDERSTOOD


def _translate_arguments(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument(
        "--aliyun-unit",
        choices=list(AliyunUnit),
        default="GiB",
        help="unit of aliyun.com/gpu-mem (default: %(default)s)",
    )
    parser.add_argument(
        "--bare-nvidia-gpu",
        choices=list(BareGpu),
        default="whole",
        help="meaning of nvidia.com/gpu on its own (default: %(default)s)",
    )
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


def _translate(given: argparse.Namespace) -> int:
    options = Options(
        aliyun_unit=AliyunUnit(given.aliyun_unit),
        bare_gpu=BareGpu(given.bare_nvidia_gpu),
        opting_out=not given.no_opting_out,
        schedulers=Options().schedulers | frozenset(given.scheduler),
    )
    code = UNDERSTOOD
    translated: list[Translated] = []
    for manifest in manifests.read(given.filename):
        try:
            if isinstance(manifest, errors.Malformed):
                raise manifest
            item = translate.translate(manifest, options)
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


if __name__ == "__main__":
    sys.exit(main())
