"""AdmissionReview (admission.k8s.io/v1) on the wire.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

import orjson

from unigpu import errors

API_VERSION = "admission.k8s.io/v1"
KIND = "AdmissionReview"
WARNING_LENGTH = 256
"""The API server truncates longer ones."""
WARNINGS = 16
"""The API server takes 4 KiB of them in all."""


class Status(TypedDict):
    """Why a request was refused."""

    code: int
    reason: str
    message: str


class Response(TypedDict):
    """The `response` of a review."""

    uid: str
    allowed: bool
    status: NotRequired[Status]
    warnings: NotRequired[list[str]]
    patchType: NotRequired[Literal["JSONPatch"]]
    patch: NotRequired[str]


class Answer(TypedDict):
    """The whole answer."""

    apiVersion: str
    kind: str
    response: Response


@dataclass(frozen=True, slots=True)
class Review:
    """The `request` of a review."""

    uid: str
    kind: str
    """Kind of the object: `Pod`; with the group unless it is the core one: `Deployment.apps`."""
    operation: str
    """CREATE, UPDATE, DELETE or CONNECT."""
    subresource: str
    namespace: str
    name: str
    user: str
    dry_run: bool
    document: Mapping[str, Any]
    """The object; empty for DELETE."""
    old: Mapping[str, Any]
    """The object before an UPDATE; else empty."""


def read(body: bytes) -> Review:
    """Read a review from a request's body.

    Raises Malformed, which names the expectation.
    """
    try:
        review = orjson.loads(body)
    except ValueError as error:
        raise errors.Malformed(f"the body is not JSON: {error}") from None
    if not isinstance(review, dict) or (review.get("apiVersion"), review.get("kind")) != (API_VERSION, KIND):
        raise errors.Malformed(f"the body is not an {KIND} of {API_VERSION}")
    request = _object(review, "request")
    uid = _text(request, "uid")
    if not uid:
        raise errors.Malformed("request.uid is missing")
    kind = _object(request, "kind")
    user = _object(request, "userInfo")
    group = _text(kind, "group")
    return Review(
        uid=uid,
        kind=_text(kind, "kind") + (f".{group}" if group else ""),
        operation=_text(request, "operation"),
        subresource=_text(request, "subResource"),
        namespace=_text(request, "namespace"),
        name=_text(request, "name"),
        user=_text(user, "username"),
        dry_run=request.get("dryRun") is True,
        document=_object(request, "object"),
        old=_object(request, "oldObject"),
    )


def allow(uid: str, warnings: Sequence[str] = (), patch: Sequence[Mapping[str, Any]] = ()) -> Answer:
    """Return the answer that allows the request, changed by the patch if there is one."""
    response: Response = {"uid": uid, "allowed": True}
    if patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(orjson.dumps(patch)).decode()
    return _answer(response, warnings)


def refuse(uid: str, status: Status, warnings: Sequence[str] = ()) -> Answer:
    """Return the answer that refuses the request."""
    return _answer({"uid": uid, "allowed": False, "status": status}, warnings)


def write(answer: Answer) -> bytes:
    """Return the answer as the body of a response."""
    return orjson.dumps(answer)


def _answer(response: Response, warnings: Sequence[str]) -> Answer:
    if warnings:
        response["warnings"] = [_cut(warning) for warning in warnings[:WARNINGS]]
    return {"apiVersion": API_VERSION, "kind": KIND, "response": response}


def _cut(text: str) -> str:
    return text if len(text) <= WARNING_LENGTH else text[: WARNING_LENGTH - 1] + "…"


def _object(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise errors.Malformed(f"{key} is not an object")
    return value


def _text(parent: Mapping[str, Any], key: str) -> str:
    value = parent.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise errors.Malformed(f"{key} is not a string")
    return value
