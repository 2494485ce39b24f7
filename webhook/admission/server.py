"""The HTTP application that answers reviews."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from unigpu import errors, logs
from webhook.admission import admission_review, owner_events, review
from webhook.admission.metrics import Metrics
from webhook.admission.owner_events import OwnerEvents
from webhook.admission.review import Verdict
from webhook.limits.node_usage import NodeUsage
from webhook.translation.options import Options

log = logging.getLogger(__name__)
READ_SECONDS = 10.0
"""Longest time for receiving a review. The API server itself waits for an answer for 10 s by default."""
_LEVELS = {"untouched": logging.DEBUG}


class Reviews:
    """Answers reviews. `options` returns those of a namespace; while `draining`, it closes each connection.

    Without `node_usage` the free capacity of a GPU isn't known, so raises of limits are refused.
    """

    def __init__(
        self,
        options: Callable[[str], Options],
        trusted_writers: tuple[str, ...],
        metrics: Metrics,
        body_bytes: int,
        node_usage: NodeUsage | None = None,
        owner_events: OwnerEvents | None = None,
    ) -> None:
        self._options, self._trusted_writers, self._metrics, self._body_bytes = (
            options,
            trusted_writers,
            metrics,
            body_bytes,
        )
        self._node_usage = node_usage
        self._owner_events = owner_events
        self.draining = False

    def application(self) -> web.Application:
        """/mutate and /validate."""
        application = web.Application(client_max_size=self._body_bytes)
        application.router.add_post("/mutate", self._handler("mutate", self._mutate))
        application.router.add_post("/validate", self._handler("validate", self._validate))
        return application

    async def _mutate(self, asked: admission_review.Review) -> Verdict:
        return review.review_mutation(asked, self._options(asked.namespace))

    async def _validate(self, asked: admission_review.Review) -> Verdict:
        options = self._options(asked.namespace)
        verdict = review.review_validation(asked, options, self._trusted_writers)
        if self._node_usage is None:
            return verdict
        replaces = verdict.accepted is not None and self._node_usage.remembers(verdict.accepted)
        if not verdict.needs_node and (asked.dry_run or not replaces):
            return verdict
        try:
            if not await self._node_usage.shows(asked.old):
                return review.unconfirmed(asked)
            if not verdict.needs_node:
                return self._noted(asked, verdict, self._node_usage)
            async with self._node_usage.of(verdict.needs_node) as ledger:
                verdict = review.review_validation(asked, options, self._trusted_writers, ledger)
                return self._noted(asked, verdict, self._node_usage)
        except errors.Unavailable as error:
            return review.unanswered(asked, str(error))

    def _noted(self, asked: admission_review.Review, verdict: Verdict, node_usage: NodeUsage) -> Verdict:
        if verdict.accepted is not None and not asked.dry_run:
            node_usage.remember(verdict.accepted)
        return verdict

    def _handler(
        self, path: str, decide: Callable[[admission_review.Review], Awaitable[Verdict]]
    ) -> Callable[[web.Request], "asyncio.Future[web.Response]"]:
        async def handle(request: web.Request) -> web.Response:
            response = await self._answer(path, decide, request)
            if self.draining:
                response.force_close()
            return response

        return handle  # type: ignore[return-value]

    async def _answer(
        self, path: str, decide: Callable[[admission_review.Review], Awaitable[Verdict]], request: web.Request
    ) -> web.Response:
        try:
            async with asyncio.timeout(READ_SECONDS):
                body = await request.read()
        except TimeoutError:
            return self._malformed(path, 408, f"the review didn't arrive within {READ_SECONDS:g} s")
        except web.HTTPRequestEntityTooLarge:
            return self._malformed(path, 413, f"the review is larger than {self._body_bytes} bytes")
        came, began = time.time(), time.perf_counter()
        try:
            asked = admission_review.read(body)
            verdict = await decide(asked)
        except errors.Malformed as error:
            return self._malformed(path, 400, str(error))
        content = admission_review.write(verdict.answer)
        seconds = time.perf_counter() - began
        # Later, so that the API server gets its answer first.
        asyncio.get_running_loop().call_soon(self._note, path, asked, verdict, came, seconds)
        return web.Response(body=content, content_type="application/json")

    def _note(self, path: str, asked: admission_review.Review, verdict: Verdict, came: float, seconds: float) -> None:
        """Count and log a decision, and tell a controller of warnings that only it gets."""
        if self._owner_events is not None and (found := owner_events.warned(asked, verdict)) is not None:
            self._owner_events.add(found)
        self._metrics.reviewed(path, verdict.dialects, verdict.outcome, seconds)
        logs.event(
            log,
            "reviewed",
            _LEVELS.get(verdict.outcome, logging.INFO),
            at=came,
            path=path,
            outcome=verdict.outcome,
            pod="/".join(filter(None, (asked.namespace, _name(asked)))),
            pod_uid=_uid(asked),
            operation=asked.operation,
            user=asked.user,
            dialects=list(verdict.dialects),
            reason=verdict.reason,
            dry_run=asked.dry_run,
            review=asked.uid,
            milliseconds=round(seconds * 1000, 3),
        )

    def _malformed(self, path: str, status: int, text: str) -> web.Response:
        self._metrics.reviewed(path, (), "malformed", 0.0)
        logs.event(log, "not a review", logging.WARNING, path=path, status=status, reason=text[:500])
        return web.Response(status=status, text=text.encode("utf-8", "backslashreplace").decode() + "\n")


def _name(asked: admission_review.Review) -> str:
    """The pod's name; pods of controllers have none yet when they are created."""
    metadata = asked.document.get("metadata") or {}
    return asked.name or (str(metadata.get("generateName", "")) + "…" if isinstance(metadata, dict) else "")


def _uid(asked: admission_review.Review) -> str:
    """The pod's UID; empty while it is being created."""
    for document in (asked.document, asked.old):
        metadata = document.get("metadata")
        if isinstance(metadata, dict) and metadata.get("uid"):
            return str(metadata["uid"])
    return ""
