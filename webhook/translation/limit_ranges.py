"""Defaults that a LimitRange has put into a container before admission's webhooks: nobody's own words.

The API server notes them in an annotation. An author who writes the annotation by hand only gives up what it names.
"""

from unigpu.remembered import remembered
from webhook.translation.pods import Container, Pod

ANNOTATION = "kubernetes.io/limit-ranger"
"""`LimitRanger plugin set: A, B limit for container C; …`"""


def defaults(pod: Pod, container: Container) -> frozenset[str]:
    """Return the resources whose limits in the container are a LimitRange's defaults."""
    text = pod.annotations.get(ANNOTATION)
    return frozenset() if text is None else frozenset(name for where, name in _read(text) if where == container.name)


@remembered(64, longest=16384)
def _read(text: str) -> frozenset[tuple[str, str]]:
    """Return container and resource of each limit in the annotation."""
    found: set[tuple[str, str]] = set()
    for part in text.partition(": ")[2].split("; "):
        resources, _, container = part.partition(" limit for ")
        found |= {(container.rpartition(" ")[2], resource) for resource in resources.split(", ")}
    return frozenset(found)
