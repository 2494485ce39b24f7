"""The verbs of the extender, over HTTP: reads the body, asks the decisions, measures, logs."""

import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from scheduler import binding, choice, objects, wire
from scheduler.freshness import Freshness
from scheduler.metrics import Metrics
from scheduler.verdicts import Verdicts
from unigpu import errors, logs
from unigpu.ledger import CapacityLedger
from unigpu.placement import Rules
from unigpu.requests import PlacementPolicy

logger = logging.getLogger(__name__)

MOST_BODY = 32 << 20
"""Bytes of a request: a pod and the names of all nodes."""


class Service:
    """Answers the kube-scheduler. Errors are answered with 200 and a text, which it shows in the pod's events."""

    def __init__(
        self,
        books: CapacityLedger,
        verdicts: Verdicts,
        binder: binding.Binder,
        fresh: Freshness,
        metrics: Metrics,
        ready: Callable[[], bool],
        rules: Rules,
        node_policy: PlacementPolicy,
    ) -> None:
        self._books = books
        self._verdicts = verdicts
        self._binder = binder
        self._fresh = fresh
        self._metrics = metrics
        self._ready = ready
        self._rules = rules
        self._node_policy = node_policy

    def verbs(self) -> web.Application:
        """The application for the kube-scheduler."""
        app = web.Application(client_max_size=MOST_BODY)
        app.router.add_post("/filter", self._verb("filter", self._filter))
        app.router.add_post("/prioritize", self._verb("prioritize", self._prioritize))
        app.router.add_post("/preempt", self._verb("preempt", self._preempt))
        app.router.add_post("/bind", self._verb("bind", self._bind))
        return app

    def probes(self) -> web.Application:
        """The application for the kubelet and Prometheus."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._show)
        return app

    def _verb(
        self, verb: str, answer: Callable[[Any], Awaitable[tuple[str, object]]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            start = time.perf_counter()
            try:
                body = json.loads(await request.read())
                outcome, document = await answer(body)
            except (ValueError, KeyError, TypeError) as error:
                logs.event(logger, "malformed", logging.WARNING, verb=verb, reason=repr(error))
                self._metrics.observe(verb, "malformed", time.perf_counter() - start)
                return web.Response(status=400, text=f"{verb} wants a body as kube-scheduler sends it: {error!r}\n")
            except errors.Unavailable as error:
                self._metrics.observe(verb, "error", time.perf_counter() - start)
                return web.Response(status=503, text=f"{error}\n")
            text = json.dumps(document)
            self._metrics.observe(verb, outcome, time.perf_counter() - start)
            return web.Response(text=text, content_type="application/json")

        return handle

    def _check_ready(self) -> None:
        self._fresh.asked()
        if not self._ready():
            raise errors.Unavailable("unigpu's extender has not listed nodes and pods yet")

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
            request = objects.request(pod)
        except (errors.Denied, errors.Malformed) as error:
            logs.event(logger, "refused", pod=objects.key(pod), reason=error)
            return "refused", choice.refuse_all(names, error)
        self._binder.remember(uid, request)
        result = choice.filter_nodes(self._verdicts, request, names)
        nominated = (pod.get("status") or {}).get("nominatedNodeName")
        if nominated and nominated in result.get("FailedAndUnresolvableNodes", {}):
            try:
                await self._fresh.now(nominated)
            except errors.UnigpuError as error:
                return "error", {"Error": str(error)}
            result = choice.filter_nodes(self._verdicts, request, names)
        fitting = result["NodeNames"]
        failing: dict[str, str] = result.get("FailedAndUnresolvableNodes", {})
        logs.event(
            logger,
            "filtered" if fitting else "no node fits",
            logging.DEBUG if fitting else logging.INFO,
            pod=objects.key(pod),
            nodes=len(names),
            fitting=len(fitting),
            reason=next(iter(failing.values()), ""),
        )
        return ("fits" if fitting else "none"), result

    async def _prioritize(self, args: wire.Args) -> tuple[str, list[wire.HostPriority]]:
        names = args["NodeNames"] or []
        try:
            wish = objects.request(args["Pod"]).preferences.node_policy
        except (errors.Denied, errors.Malformed):
            wish = None
        return "ok", choice.prioritize(self._books, wish or self._node_policy, names)

    async def _preempt(self, args: wire.PreemptionArgs) -> tuple[str, wire.PreemptionResult]:
        self._check_ready()
        pod, offered = args["Pod"], args["NodeNameToMetaVictims"] or {}
        try:
            kept = choice.preempt(self._books, self._rules, objects.request(pod), objects.priority(pod), offered)
        except (errors.Denied, errors.Malformed):
            kept = {}
        logs.event(logger, "preemption", pod=objects.key(pod), offered=sorted(offered), kept=sorted(kept))
        return ("some" if kept else "none"), {"NodeNameToMetaVictims": kept}

    async def _bind(self, args: wire.BindingArgs) -> tuple[str, wire.BindingResult]:
        pod, node = f"{args['PodNamespace']}/{args['PodName']}", args["Node"]
        try:
            self._check_ready()
            allocation = await self._binder.bind(args)
        except errors.UnigpuError as error:
            logs.event(logger, "not bound", logging.WARNING, pod=pod, node=node, reason=error)
            outcome = "unknown" if isinstance(error, errors.Unavailable) else "refused"
            return outcome, {"Error": f"unigpu: {error}"}
        if allocation is None:
            logs.event(logger, "placed before", pod=pod, node=node, uid=args["PodUID"])
        else:
            gpus = {name: [share.gpu for share in shares] for name, shares in allocation.containers.items()}
            logs.event(logger, "placed", pod=pod, node=node, uid=args["PodUID"], gpus=gpus)
        return "bound", {"Error": ""}

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._ready():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="nodes and pods are not listed yet\n")

    async def _show(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"})
