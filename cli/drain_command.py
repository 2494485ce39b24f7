"""`kubectl unigpu drain` as a command: plan, consent, cordon, evictions, waiting."""

import argparse
import asyncio
import contextlib
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cli import cordon, drain, failures, options
from cli.drain import Consent, Tenant
from unigpu import budgets as budget_facts
from unigpu import cordons, documents, errors, gpus, names
from unigpu.units import GpuUuid

if TYPE_CHECKING:
    from unigpu.budgets import Budget
    from unigpu_kube.client import Client

DONE, REFUSED = 0, 1
ABOUT = (
    "Empties a GPU: shows which pods have a share of it and what becomes of each, asks for consent, cordons the GPU, "
    "and evicts the pods by the Eviction API, which honours disruption budgets. Then it waits until they are gone. "
    "Interrupted, it leaves the GPU cordoned and can be given again; uncordon ends the cordon. Exit status: "
    "0 no pod has a share of the GPU, 1 some are left, or there was no consent, 2 the cluster doesn't answer."
)
_REST = "the GPU stays cordoned; the same command goes on, and uncordon ends it"
_POLL_SECONDS = 0.5
_RETRY_POLLS = 6
"""A refused eviction is asked for again after so many polls."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("gpu", metavar="NODE/GPU", help="node, and index or UUID of the GPU: node-1/0")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for people: shown by status")
    parser.add_argument("--dry-run", action="store_true", help="show the plan, and change nothing")
    parser.add_argument("-y", "--yes", action="store_true", help="don't ask for consent")
    parser.add_argument(
        "--force", action="store_true", help="also evict pods that no controller creates again; they are lost"
    )
    parser.add_argument(
        "--delete-emptydir-data",
        action="store_true",
        help="also evict pods with emptyDir volumes on disk, whose data is lost",
    )
    parser.add_argument(
        "--grace-period", type=_whole, metavar="SECONDS", help="time that each pod has to end (default: its own)"
    )
    parser.add_argument(
        "--timeout",
        type=options.seconds,
        default=300.0,
        metavar="SECONDS",
        help="longest time to wait (default: %(default)g)",
    )
    options.connection(parser)


def run(given: argparse.Namespace) -> int:
    """Drain the GPU, print each step, and return the exit status."""
    node, gpu = cordon.split(given.gpu)
    return asyncio.run(_run(given, node, gpu))


@dataclass(slots=True)
class _Drain:
    """One run of the command."""

    api: "Client"
    node: str
    gpu: GpuUuid
    consent: Consent
    grace: int | None
    asked: set[str] = field(default_factory=set)
    """UIDs of pods whose eviction was accepted."""
    answers: dict[str, str] = field(default_factory=dict)
    """The API server's last words on an eviction that it refused, by UID."""
    known: dict[str, Tenant] = field(default_factory=dict)
    """Pods that have a share, as they were last seen, by UID."""
    silent: errors.Unavailable | None = None
    """Why the API server didn't answer the last time; None: it did."""

    async def look(self) -> tuple[list[Tenant], list[str]]:
        """Return the pods that have a share of the GPU now, and those that can't be read."""
        from unigpu_kube import objects

        found = await self.api.items(objects.PODS, {"fieldSelector": f"spec.nodeName={self.node}"}, limit=500)
        return drain.tenants(found, self.gpu, await self._budgets(), self.consent)

    async def step(self, retry: bool) -> list[Tenant]:
        """Ask for the evictions that are still due, say what has changed, and return who is still there."""
        found, _ = await self.look()
        for tenant in found:
            uid = tenant.ref.uid
            self.known[uid] = tenant
            if not (tenant.leaving or tenant.refusal or uid in self.asked) and (retry or uid not in self.answers):
                await self._evict(tenant)
        for uid in self.known.keys() - {tenant.ref.uid for tenant in found}:
            _say(f"{self.known.pop(uid).title}: gone")
        return found

    async def _evict(self, tenant: Tenant) -> None:
        from unigpu_kube import errors as kube_errors
        from unigpu_kube import pods

        uid = tenant.ref.uid
        try:
            await pods.evict(self.api, tenant.ref, self.grace)
        except (kube_errors.Missing, kube_errors.Conflict):
            return  # gone, or another one by that name: the next look tells
        except kube_errors.ServerError as error:
            # 500: several budgets protect the pod, which the Eviction API doesn't support.
            answer = str(error).partition(": ")[2]
            if self.answers.get(uid) != answer:
                _say(f"{tenant.title}: waits: {drain.refused(tenant, answer)}")
            self.answers[uid] = answer
            return
        self.answers.pop(uid, None)
        self.asked.add(uid)
        _say(f"{tenant.title}: evicted")

    async def _budgets(self) -> "list[Budget]":
        """Return the disruption budgets that the caller may see; the Eviction API knows them all."""
        from unigpu_kube import errors as kube_errors

        found = []
        with contextlib.suppress(kube_errors.Rejected):
            for document in await self.api.items(budget_facts.PATH, limit=500):
                with contextlib.suppress(*documents.INVALID):
                    found.append(budget_facts.load(document))
        return found


async def _run(given: argparse.Namespace, node: str, gpu: str) -> int:
    from cli import api_client  # not at the top: Kubernetes' client takes longer to load than a translation
    from unigpu_kube import objects

    async with api_client.connected(given.kubeconfig, given.context) as api:
        document = await api.get(objects.node(node))
        annotations = document["metadata"].get("annotations") or {}
        inventory = annotations.get(names.ANNOTATION_INVENTORY)
        known = () if inventory is None else gpus.load(inventory)
        uuid = cordons.find_gpu(gpu, known, cordons.load(annotations.get(names.ANNOTATION_CORDONED)))
        session = _Drain(api, node, uuid, Consent(given.force, given.delete_emptydir_data), given.grace_period)
        found, unreadable = await session.look()
        for line in drain.lines(cordon.title(node, uuid, known), found, unreadable):
            _say(line)
        kept = [tenant for tenant in found if tenant.refusal]
        if given.dry_run or kept:
            if kept and not given.dry_run:
                print("refused: some pods are not evicted without another option; nothing was changed", file=sys.stderr)
            return REFUSED if kept else DONE
        if found and not given.yes and not _agrees():
            return REFUSED
        try:
            _say(await cordon.annotate(api, node, gpu, given.reason))
        except asyncio.CancelledError:
            print("interrupted: the GPU may be cordoned; see status, and end a cordon by uncordon", file=sys.stderr)
            raise
        try:
            return await _finish(session, given.timeout)
        except asyncio.CancelledError:
            print(f"interrupted: {_REST}", file=sys.stderr)
            raise
        except errors.UnigpuError as error:
            print(f"{failures.sentence(error)}; {_REST}", file=sys.stderr)
            return failures.status(error)


async def _finish(session: _Drain, seconds: float) -> int:
    """Evict until nobody is left, or the time is over; return the exit status."""
    try:
        async with asyncio.timeout(seconds):
            await _evict_all(session)
    except TimeoutError:
        print(f"error: not empty after {seconds:g} s", file=sys.stderr)
    if session.silent is not None:
        raise session.silent
    left = list(session.known.values())
    for tenant in left:
        print(f"{tenant.title}: {drain.stuck(tenant, session.answers.get(tenant.ref.uid, ''))}", file=sys.stderr)
    if left:
        print(_REST, file=sys.stderr)
        return REFUSED
    _say("no pod has a share of the GPU")
    return DONE


async def _evict_all(session: _Drain) -> None:
    """Evict until nobody is left who may be evicted. An API server that doesn't answer is asked again."""
    polls = quiet = 0
    # A binding that was under way when the cordon was written may show a little later.
    while quiet < 2:
        try:
            left = await session.step(polls % _RETRY_POLLS == 0)
        except errors.Unavailable as error:
            if session.silent is None:
                print(f"{failures.sentence(error)}; asking again", file=sys.stderr, flush=True)
            session.silent = error
        else:
            session.silent = None
            quiet = 0 if left else quiet + 1
            if left and all(tenant.refusal for tenant in left):
                return
        polls += 1
        await asyncio.sleep(_POLL_SECONDS)


def _agrees() -> bool:
    """Return whether the person at the terminal agrees."""
    if not sys.stdin.isatty():
        print("refused: consent can't be asked for without a terminal; accepted: --yes", file=sys.stderr)
        return False
    print("Cordon the GPU and evict these pods? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    print("nothing was changed", file=sys.stderr)
    return False


def _say(line: str) -> None:
    print(line, flush=True)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 86400):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of seconds")
    return int(text)
