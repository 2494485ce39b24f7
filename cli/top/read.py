"""Ask the exporters for their pages, through the API server's proxy of pods."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli import failures
from cli.top import samples
from cli.top.samples import Page
from unigpu import errors, names
from unigpu_kube import errors as kube_errors
from unigpu_kube import objects
from unigpu_kube.client import Client

_AT_ONCE = 32
_AGENTS = f"{names.LABEL_COMPONENT}=node-agent"


@dataclass(frozen=True, slots=True)
class Round:
    """One page of each exporter, by node, and why others gave none."""

    pages: Mapping[str, Page]
    notes: Sequence[str]


async def all_pages(api: Client, namespace: str, node: str = "") -> Round:
    """Return the pages of all exporters, or of one node's.

    Raises Denied where none runs, Forbidden where the caller may not ask them, Rejected, Unavailable.
    """
    try:
        pods = await _exporters(api, namespace, node)
    except kube_errors.Rejected as error:
        if failures.forbidden(error):
            raise Forbidden(error.status, _lacking(namespace, error.message)) from error
        raise
    if not pods:
        where = f" on node {node}" if node else ""
        raise errors.Denied(
            f"no exporter of unigpu runs in namespace {namespace}{where}; accepted: another one with "
            "--system-namespace, or `kubectl unigpu doctor` to find out why"
        )
    return await _scrape(api, namespace, pods)


async def _exporters(api: Client, namespace: str, node: str) -> dict[str, str]:
    """Return the exporter's pod by node."""
    query = {"labelSelector": _AGENTS, "fieldSelector": f"spec.nodeName={node}" if node else "status.phase=Running"}
    pods = await api.items(f"{objects.NAMESPACES}/{namespace}/pods", query)
    return {str((pod.get("spec") or {}).get("nodeName") or ""): pod["metadata"]["name"] for pod in pods}


async def _scrape(api: Client, namespace: str, pods: Mapping[str, str]) -> Round:
    """Return the pages of these exporters; one that doesn't answer is noted."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(pod: str) -> Page | errors.UnigpuError:
        path = f"{objects.NAMESPACES}/{namespace}/pods/{pod}:{names.PORT_EXPORTER}/proxy/metrics"
        async with gate:
            try:
                return samples.page(await api.text(path), time.monotonic())
            except ValueError as error:
                return errors.Malformed(f"its page can't be read: {error}")
            except (kube_errors.ServerError, kube_errors.Missing) as error:
                return error
            except kube_errors.Rejected as error:
                if failures.forbidden(error):
                    raise Forbidden(error.status, _lacking(namespace, error.message)) from error
                return error

    answers: list[Any] = await asyncio.gather(*(one(pod) for pod in pods.values()))
    both = dict(zip(pods, answers, strict=True))
    failed = {node: answer for node, answer in both.items() if not isinstance(answer, Page)}
    notes = [f"the exporter of node {node} doesn't answer: {_brief(error)}" for node, error in list(failed.items())[:3]]
    if len(failed) > 3:
        notes.append(f"{len(failed) - 3} more exporters don't answer.")
    return Round({node: answer for node, answer in both.items() if isinstance(answer, Page)}, notes)


class Forbidden(kube_errors.Rejected):
    """The caller may not use the proxy of pods."""


def _lacking(namespace: str, message: str) -> str:
    """Return what the caller lacks, and who can give it."""
    return (
        f"live use comes from the exporters in namespace {namespace}, by the API server's proxy of pods. Ask an "
        f"administrator for `get` on pods/proxy and `list` on pods there, or use Prometheus. ({message})"
    )


def _brief(error: errors.UnigpuError) -> str:
    return str(getattr(error, "message", error)).strip().splitlines()[0][:200]
