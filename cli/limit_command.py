"""`kubectl unigpu limit` as a command: arguments, requests to the API server, output."""

import argparse
import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli import failures, limit, options, targets
from cli.limit import LimitChange
from unigpu import errors, names
from unigpu.limits import Applied

if TYPE_CHECKING:
    from cli.api_client import Item
    from unigpu_kube.client import Client

DONE, REFUSED = 0, 1
ABOUT = (
    f"Changes annotation {names.ANNOTATION_LIMITS} of pods: memory, share, ceiling and policy of their containers, "
    "while they run. Limits that aren't named stay as they are; without any, the command shows them. With a "
    "controller (deploy/NAME) or labels it changes every pod that runs; pods that are created later start as "
    "requested. Exit status: 0 changed (with --wait: in force), 1 a pod refused, or not in force in time, 2 the "
    "cluster doesn't answer."
)
_FIELDS = {
    "memory": ("AMOUNT", "memory on each GPU: MiB, or a quantity such as 1Gi"),
    "cores": ("PERCENT", "guaranteed share of each GPU"),
    "ceiling": ("PERCENT", "highest part of each GPU that the container may use while others leave it idle"),
    "policy": ("POLICY", "hard, soft or unlimited: how the share of compute time is enforced"),
}
_TRIES = 10
_POLL_SECONDS = 0.1


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.set_defaults(wrong=parser.error)
    parser.add_argument(
        "target",
        nargs="?",
        metavar="POD",
        help="name of the pod, or pod/NAME, deploy/NAME, sts/NAME, ds/NAME, job/NAME",
    )
    parser.add_argument("-l", "--selector", default="", metavar="LABELS", help="every pod with these labels")
    options.namespace(parser, "namespace of the pods (default: the kubeconfig's)")
    parser.add_argument("-c", "--container", default="", help="container to change (default: the only one with a GPU)")
    for field, (shape, text) in _FIELDS.items():
        parser.add_argument(f"--{field}", metavar=shape, help=text)
    parser.add_argument(
        "--reset",
        action="store_true",
        help="return to the requested limits, except for those named in the same command",
    )
    parser.add_argument("--wait", action="store_true", help="wait until the limits are in force")
    parser.add_argument(
        "--timeout",
        type=options.seconds,
        default=30.0,
        metavar="SECONDS",
        help="longest time to wait (default: %(default)g)",
    )
    options.connection(parser)


@dataclass(frozen=True, slots=True)
class _Session:
    """One run of the command."""

    api: "Client"
    change: LimitChange
    wait: bool
    timeout: float
    several: bool
    """Whether lines name their pod."""

    def say(self, item: "Item", line: str) -> None:
        """Print a line on a pod."""
        name = item["metadata"]["name"]
        print(f"pod {name}: {line}" if self.several else line, flush=True)

    @property
    def shows(self) -> bool:
        """Whether nothing is to be changed or awaited."""
        return not (self.change.fields or self.change.reset or self.wait)


def run(given: argparse.Namespace) -> int:
    """Change, print, wait; return the exit status."""
    try:
        target = targets.parse(given.target, given.selector)
    except errors.Denied as error:
        given.wrong(str(error))
        raise
    return asyncio.run(_run(given, target))


async def _run(given: argparse.Namespace, target: targets.Target) -> int:
    from cli import api_client, kubeconfig  # not at the top: Kubernetes' client takes longer to load than a translation

    fields = {field: value for field in _FIELDS if (value := getattr(given, field)) is not None}
    change = LimitChange(given.container, fields, given.reset)
    namespace = given.namespace or kubeconfig.namespace(given.kubeconfig, given.context)
    async with api_client.connected(given.kubeconfig, given.context) as api:
        found = await targets.pods(api, namespace, target)
        session = _Session(api, change, given.wait, given.timeout, not target.pod)
        if not session.several:
            return await _one(session, found[0])
        if target.controller and not session.shows:
            said = f"note: the pods of {targets.title(target)} that run now are changed; new ones start as requested"
            print(said, file=sys.stderr, flush=True)
        return await _each(session, found)


async def _each(session: _Session, found: list["Item"]) -> int:
    """Change the pods one after the other, whatever becomes of each; return the exit status."""
    code = DONE
    sharing = [item for item in found if names.ANNOTATION_REQUEST in _annotations(item)]
    if len(sharing) < len(found):
        print(f"note: {len(found) - len(sharing)} of {len(found)} pods have no share of a GPU", file=sys.stderr)
    if not sharing:
        raise errors.Denied("none of the pods has a share of a GPU; accepted: pods whose GPU request was admitted")
    for item in sharing:
        try:
            code = max(code, await _one(session, item))
        except errors.Unavailable:
            raise
        except errors.UnigpuError as error:
            print(f"pod {item['metadata']['name']}: {failures.sentence(error)}", file=sys.stderr, flush=True)
            code = REFUSED
    return code


async def _one(session: _Session, item: "Item") -> int:
    """Change one pod; return the exit status."""
    from unigpu_kube import errors as kube_errors
    from unigpu_kube import objects, pods

    if session.shows:
        for line in limit.shown(_annotations(item)):
            session.say(item, line)
        return DONE
    about = item["metadata"]
    path = objects.pod(about["namespace"], about["name"])
    for tries in range(_TRIES):
        plan = limit.plan(_annotations(item), session.change)
        if not plan.changes:
            break
        try:
            item = await pods.annotate(session.api, item, {names.ANNOTATION_LIMITS: plan.text})
            break
        except kube_errors.Conflict:
            if tries == _TRIES - 1:
                raise
            item = await session.api.get(path)
    for line in plan.changes or ("nothing to change",):
        session.say(item, line)
    return await _wait(session, item) if session.wait else DONE


async def _wait(session: _Session, item: "Item") -> int:
    from cli import api_client
    from unigpu_kube import objects

    about = item["metadata"]
    said: Applied | None = None
    try:
        async with asyncio.timeout(session.timeout):
            while (said := limit.applied(_annotations(item))) is None:
                await asyncio.sleep(_POLL_SECONDS)
                item = await session.api.get(objects.pod(about["namespace"], about["name"]))
                if item["metadata"]["uid"] != about["uid"]:
                    raise errors.Denied(f"pod {about['name']} was deleted and created again while the command waited")
    except TimeoutError:
        phase = (item.get("status") or {}).get("phase", "unknown")
        refused = await api_client.last_event(session.api, item, names.EVENT_LIMITS_REFUSED)
        last = f"; the node agent's last refusal: {refused}" if refused else ""
        whose = f"pod {about['name']}: " if session.several else ""
        print(f"{whose}error: not in force after {session.timeout:g} s, the pod is {phase}{last}", file=sys.stderr)
        return REFUSED
    for line in ("in force", *limit.beyond(said)):
        session.say(item, line)
    return DONE


def _annotations(item: "Item") -> dict[str, str]:
    return item["metadata"].get("annotations") or {}
