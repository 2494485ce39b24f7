"""Pods and reviews in few words."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import jsonpatch
import pytest

from webhook.admission import admission_review, review
from webhook.admission.review import Verdict
from webhook.translation.options import Options


def make_pod(
    limits: Mapping[str, Any] | None = None,
    *,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    containers: list[dict[str, Any]] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A pod with one container `main`, or with those given."""
    metadata: dict[str, Any] = {"name": "p"}
    if annotations is not None:
        metadata["annotations"] = dict(annotations)
    if labels is not None:
        metadata["labels"] = dict(labels)
    main: dict[str, Any] = {"name": "main", "resources": {"limits": dict(limits or {})}}
    if env is not None:
        main["env"] = [{"name": name, "value": value} for name, value in env.items()]
    return {"metadata": metadata, "spec": {"containers": containers or [main], **spec}}


@pytest.fixture
def pod() -> Callable[..., dict[str, Any]]:
    """A pod with these limits."""
    return make_pod


def ask(document: Mapping[str, Any], **fields: Any) -> admission_review.Review:
    """A review of the pod's creation, unless the fields say otherwise."""
    request = {"uid": "u", "kind": {"kind": "Pod"}, "operation": "CREATE", "object": document} | fields
    return admission_review.read(
        json.dumps(
            {"apiVersion": admission_review.API_VERSION, "kind": admission_review.KIND, "request": request}
        ).encode()
    )


class Admission:
    """What an API server would do with a pod."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def mutate(self, document: Mapping[str, Any], **fields: Any) -> Verdict:
        """The verdict of /mutate."""
        return review.review_mutation(ask(document, **fields), self.options)

    def validate(self, document: Mapping[str, Any], **fields: Any) -> Verdict:
        """The verdict of /validate; the scheduler may write."""
        return review.review_validation(ask(document, **fields), self.options, ("scheduler",))

    def create(self, document: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """The pod as it is stored; asserts that both webhooks let it pass."""
        verdict = self.mutate(document, **fields)
        assert verdict.answer["response"]["allowed"], verdict.reason
        patched: dict[str, Any] = jsonpatch.apply_patch(document, patch(verdict))
        checked = self.validate(patched, **fields)
        assert checked.answer["response"]["allowed"], checked.reason
        return patched


def patch(verdict: Verdict) -> list[dict[str, Any]]:
    """The operations of an answer."""
    operations: list[dict[str, Any]] = json.loads(base64.b64decode(verdict.answer["response"].get("patch", "W10=")))
    return operations


@pytest.fixture
def admission() -> Admission:
    """Admission with the default options."""
    return Admission(Options())


@pytest.fixture
def admission_with() -> Callable[[Options], Admission]:
    """Admission with other options."""
    return Admission
