"""One sentence for each thing that can go wrong, and the exit status."""

import pytest

from cli import failures
from unigpu import errors
from unigpu_kube import errors as kube_errors

REFUSAL = 'admission webhook "protect.unigpu.dev" denied the request: container main: memory = 8 MiB: …'


@pytest.mark.parametrize(
    ("error", "sentence", "status"),
    [
        (kube_errors.of_status(401, "Unauthorized"), "error: the cluster doesn't accept your credentials", 2),
        (
            kube_errors.of_status(403, 'pods is forbidden: User "x"'),
            "error: you don't have the right to do this: pods",
            1,
        ),
        (kube_errors.of_status(403, REFUSAL), "refused: container main: memory = 8 MiB: …", 1),
        (kube_errors.of_status(404, 'pods "p" not found'), 'error: pods "p" not found', 1),
        (kube_errors.of_status(422, "invalid"), "refused: invalid", 1),
        (kube_errors.of_status(503, "overloaded"), "error: the cluster can't answer now: ", 2),
        (
            errors.Unavailable(
                "API server doesn't answer GET /api/v1/pods: Cannot connect to host 1.2.3.4:6443 ssl:default [refused]"
            ),
            "error: no cluster answers at 1.2.3.4:6443: refused; is it the right context",
            2,
        ),
        (
            errors.Unavailable("API server doesn't answer GET /api/v1/pods: TimeoutError"),
            "error: the cluster doesn't answer in time",
            2,
        ),
        (
            errors.Unavailable("API server doesn't answer GET /x: broken"),
            "error: the cluster doesn't answer: broken",
            2,
        ),
        (errors.Unavailable("no cluster to ask: x"), "error: no cluster to ask: x", 2),
        (errors.Denied("no"), "refused: no", 1),
        (errors.Malformed("no"), "refused: no", 1),
    ],
)
def test_sentences(error: errors.UnigpuError, sentence: str, status: int) -> None:
    said = failures.sentence(error)
    assert said.startswith(sentence) and "\n" not in said
    assert failures.status(error) == status
