"""The three walls that hold a container to its memory: which of them a node has, and why it lacks one.

`libvgpu` refuses exactly, in each program that loads it. `driver` is the driver's own limit for a control group, for
every program. `comparison` stops nothing, and notices what got past the others. The node agent publishes them in
annotation `unigpu.dev/walls`.
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from unigpu import documents, errors

VERSION = 1


class Wall(enum.StrEnum):
    """One of the walls."""

    LIBVGPU = "libvgpu"
    """libvgpu, in programs that load it."""
    DRIVER = "driver"
    """The driver's own memory limits for control groups, from R615 on."""
    COMPARISON = "comparison"
    """The node agent compares what NVML reports with what was granted."""


@dataclass(frozen=True, slots=True)
class Walls:
    """The walls of one node."""

    missing: Mapping[Wall, str] = field(default_factory=dict)
    """Why each wall that the node lacks is missing, for people."""

    @property
    def standing(self) -> tuple[Wall, ...]:
        """Those that the node has."""
        return tuple(wall for wall in Wall if wall not in self.missing)


def dump(walls: Walls) -> str:
    """Return the annotation's text."""
    document = {
        "version": VERSION,
        "standing": list(walls.standing),
        "missing": {str(wall): walls.missing[wall] for wall in Wall if wall in walls.missing},
    }
    return json.dumps(document, separators=(",", ":"))


def load(text: str) -> Walls:
    """Return the walls that `dump` wrote. A wall that isn't known here is left out.

    Raises Malformed.
    """
    try:
        document = documents.decode(text)
        if document["version"] != VERSION:
            raise errors.Malformed(f"walls annotation has version {document['version']}, not {VERSION}")
        standing = {documents.text(wall) for wall in document["standing"]}
        why = {documents.text(wall): documents.text(reason) for wall, reason in document["missing"].items()}
        return Walls({wall: why.get(wall, "the node agent doesn't say why") for wall in Wall if wall not in standing})
    except documents.INVALID as error:
        raise errors.Malformed(f"walls annotation can't be read: {documents.brief(error)}") from error
