"""Options that several commands have in common."""

import argparse

from webhook.translation.options import AliyunUnit, BareGpu


def connection(parser: argparse.ArgumentParser) -> None:
    """Declare which cluster is asked."""
    group = parser.add_argument_group("cluster")
    group.add_argument(
        "--kubeconfig",
        default="",
        metavar="PATH",
        help="kubeconfig of the cluster (default: the pod's service account, else KUBECONFIG)",
    )
    group.add_argument("--context", default="", metavar="NAME", help="context of the kubeconfig, if not its current")


def namespace(parser: argparse.ArgumentParser, of: str = "namespace of the pod (default: the kubeconfig's)") -> None:
    """Declare the namespace."""
    parser.add_argument("-n", "--namespace", default="", metavar="NAME", help=of)


def system(parser: argparse.ArgumentParser, default: str) -> None:
    """Declare the namespace of unigpu's own parts."""
    parser.add_argument(
        "--system-namespace", default=default, metavar="NAME", help="namespace of unigpu itself (default: %(default)s)"
    )


def output(parser: argparse.ArgumentParser, *forms: str) -> None:
    """Declare the form of the output; the first form is the default."""
    parser.add_argument(
        "-o", "--output", choices=forms, default=forms[0], help="form of the output (default: %(default)s)"
    )


def refresh(parser: argparse.ArgumentParser) -> None:
    """Declare how often the output is refreshed."""
    parser.add_argument(
        "--interval",
        type=seconds,
        default=2.0,
        metavar="SECONDS",
        help="time between two refreshes; a large cluster is read less often (default: %(default)g)",
    )


def seconds(text: str) -> float:
    """Return a positive number of seconds. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def meaning(parser: argparse.ArgumentParser) -> None:
    """Add the cluster's choices that decide what vendors' fields mean: the chart's `dialects`."""
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
