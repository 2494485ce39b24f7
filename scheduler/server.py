"""The verbs of the extender, over HTTP: read the body, ask the decisions, measure, log."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from scheduler import binding, filter_prioritize, wire
from scheduler.fit_cache import FitCache
from scheduler.metrics import Metrics
from scheduler.no_room import NoRoomEvents
from scheduler.nominations import Nominations
from scheduler.other_plugins import OtherPlugins
from scheduler.preemption import Preemption, Preemptor
from scheduler.shrinking import Shrinking
from scheduler.staleness_guard import StalenessGuard
from unigpu import api_objects, documents, errors, logs
from unigpu.ledger import CapacityLedger
from unigpu.placement import Rules
from unigpu.requests import PlacementPolicy, PodRequest

logger = logging.getLogger(__name__)

MOST_BODY = 32 << 20
"""Bytes of a request: a pod and the names of all nodes."""


class Server:
    """Answers the kube-scheduler. Errors are answered with 200 and a text, which it shows in the pod's events."""

    def __init__(
        self,
        ledger: CapacityLedger,
        fits: FitCache,
        binder: binding.Binder,
        guard: StalenessGuard,
        metrics: Metrics,
        unready: Callable[[], str | None],
        rules: Rules,
        node_policy: PlacementPolicy,
        others: OtherPlugins,
        waiting: Nominations,
        preemption: Preemption,
        shrinking: Shrinking | None = None,
        no_room: NoRoomEvents | None = None,
    ) -> None:
        """`unready` says why the ledger isn't complete yet; None: it is.

        `shrinking` None: limits aren't lowered; `no_room` None: pods aren't told what would help.
        """
        self._ledger = ledger
        self._fits = fits
        self._binder = binder
        self._guard = guard
        self._metrics = metrics
        self._unready = unready
        self._rules = rules
        self._node_policy = node_policy
        self._others = others
        self._waiting = waiting
        self._preemption = preemption
        self._shrinking = shrinking
        self._no_room = no_room

    def application(self) -> web.Application:
        """Return the application for the kube-scheduler."""
        app = web.Application(client_max_size=MOST_BODY)
        app.router.add_post("/filter", self._verb("filter", self._filter))
        app.router.add_post("/prioritize", self._verb("prioritize", self._prioritize))
        app.router.add_post("/preempt", self._verb("preempt", self._preempt))
        app.router.add_post("/bind", self._verb("bind", self._bind))
        return app

    def _verb(
        self, verb: str, answer: Callable[[Any], Awaitable[tuple[str, object]]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            start = time.perf_counter()
            try:
                body = orjson.loads(await request.read())
                outcome, document = await answer(body)
            except documents.INVALID as error:
                logs.event(logger, "malformed", logging.WARNING, verb=verb, reason=repr(error))
                self._metrics.observe(verb, "malformed", time.perf_counter() - start)
                return web.Response(status=400, text=f"{verb} wants a body as kube-scheduler sends it: {error!r}\n")
            except errors.Unavailable as error:
                self._metrics.observe(verb, "error", time.perf_counter() - start)
                return web.Response(status=503, text=f"{error}\n")
            content = orjson.dumps(document)
            self._metrics.observe(verb, outcome, time.perf_counter() - start)
            return web.Response(body=content, content_type="application/json")

        return handle

    def _check_ready(self) -> None:
        self._guard.note_request()
        reason = self._unready()
        if reason:
            raise errors.Unavailable(f"unigpu's extender can't decide yet: {reason}")

    async def _filter(self, args: wire.Args) -> tuple[str, wire.FilterResult]:
        pod, names = args["Pod"], args["NodeNames"]
        if names is None:
            return "error", {
                "Error": "unigpu's extender needs nodeCacheCapable: true in the kube-scheduler's configuration"
            }
        uid = pod["metadata"]["uid"]
        try:
            self._check_ready()
            self._binder.check_settled(uid)
        except errors.Unavailable as error:
            return "error", {"Error": str(error)}
        try:
            request = api_objects.request(pod)
        except (errors.Denied, errors.Malformed) as error:
            logs.event(logger, "refused", pod=api_objects.key(pod), pod_uid=uid, reason=error)
            return "refused", filter_prioritize.refuse_all(names, error)
        self._binder.remember(uid, request)
        refused = self._others.refusals(pod, names)
        names = [name for name in names if name not in refused] if refused else names
        result = self._fitting(pod, request, names)
        nominated = (pod.get("status") or {}).get("nominatedNodeName")
        if nominated and nominated in result.get("FailedAndUnresolvableNodes", {}):
            try:
                await self._guard.refresh(nominated)
            except errors.UnigpuError as error:
                return "error", {"Error": str(error)}
            result = self._fitting(pod, request, names)
            if self._preemption.goes_on(uid, nominated):
                filter_prioritize.keep_nomination(result, nominated)
        if refused:
            result["FailedAndUnresolvableNodes"] = refused | result.get("FailedAndUnresolvableNodes", {})
        fitting = result["NodeNames"]
        if not fitting and self._no_room is not None:
            self._no_room.note(pod, request, names)
        failing = result.get("FailedNodes", {}) | result.get("FailedAndUnresolvableNodes", {})
        logs.event(
            logger,
            "filtered" if fitting else "no node fits",
            logging.DEBUG if fitting else logging.INFO,
            pod=api_objects.key(pod),
            pod_uid=uid,
            nodes=len(args["NodeNames"] or ()),
            fitting=len(fitting),
            reason=next(iter(failing.values()), ""),
        )
        return ("fits" if fitting else "none"), result

    def _fitting(self, pod: Mapping[str, Any], request: PodRequest, names: Sequence[str]) -> wire.FilterResult:
        """Return which nodes take the pod, and leave other pods the room that was made for them."""
        result = filter_prioritize.filter_nodes(self._fits, request, names)
        if self._waiting.nodes():
            filter_prioritize.spare_waiting(self._ledger, self._rules, self._waiting, result, pod, request)
        return result

    async def _prioritize(self, args: wire.Args) -> tuple[str, list[wire.HostPriority]]:
        names = args["NodeNames"] or []
        request: PodRequest | None = None
        with contextlib.suppress(errors.Denied, errors.Malformed):
            request = api_objects.request(args["Pod"])
        policy = (None if request is None else request.preferences.node_policy) or self._node_policy
        return "ok", filter_prioritize.prioritize(self._ledger, policy, names, self._fits, request)

    async def _preempt(self, args: wire.PreemptionArgs) -> tuple[str, wire.PreemptionResult]:
        self._check_ready()
        pod, offered = args["Pod"], args["NodeNameToMetaVictims"] or {}
        refused = self._others.refusals(pod, list(offered))
        offered = {name: victims for name, victims in offered.items() if name not in refused}
        kept: dict[str, wire.MetaVictims] = {}
        with contextlib.suppress(errors.Denied, errors.Malformed):
            preemptor = Preemptor(pod, api_objects.request(pod))
            if self._shrinking is not None and await self._shrinking.spares(preemptor, offered):
                return "shrinks", {"NodeNameToMetaVictims": {}}
            for name, victims in self._preemption.choose(preemptor, offered):
                if victims is not None:
                    kept[name] = victims
                await asyncio.sleep(0)  # so that bindings don't wait
        logs.event(
            logger,
            "preemption",
            pod=api_objects.key(pod),
            pod_uid=pod["metadata"].get("uid", ""),
            offered={name: len(victims["Pods"]) for name, victims in sorted(offered.items())},
            kept={name: len(victims["Pods"]) for name, victims in sorted(kept.items())},
        )
        return ("some" if kept else "none"), {"NodeNameToMetaVictims": kept}

    async def _bind(self, args: wire.BindingArgs) -> tuple[str, wire.BindingResult]:
        pod, uid, node = f"{args['PodNamespace']}/{args['PodName']}", args["PodUID"], args["Node"]
        came = time.time()  # the node's agent may act on the binding before its answer is here
        try:
            self._check_ready()
            allocation = await self._binder.bind(args)
        except errors.UnigpuError as error:
            logs.event(logger, "not bound", logging.WARNING, pod=pod, pod_uid=uid, node=node, reason=error)
            outcome = "unknown" if isinstance(error, errors.Unavailable) else "refused"
            return outcome, {"Error": f"unigpu: {error}"}
        if allocation is None:
            logs.event(logger, "bound before", pod=pod, pod_uid=uid, node=node)
        else:
            gpus = {name: [share.gpu for share in shares] for name, shares in allocation.containers.items()}
            logs.event(logger, "bound", at=came, pod=pod, pod_uid=uid, node=node, gpus=gpus)
        return "bound", {"Error": ""}
