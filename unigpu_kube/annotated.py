"""Names and annotations of a list's objects, decoded without the rest of their metadata.

Most of the metadata is `managedFields`. Skipping it takes a quarter of the time that decoding it takes, which counts
with the pods of a large cluster.
"""

import msgspec


class Annotated(msgspec.Struct, frozen=True, gc=False):
    """An object's name and annotations."""

    name: str
    namespace: str = ""
    annotations: dict[str, str] | None = None


class _Item(msgspec.Struct, gc=False):
    metadata: Annotated


class _ListMetadata(msgspec.Struct, rename={"more": "continue"}):
    more: str = ""


class _List(msgspec.Struct):
    metadata: _ListMetadata
    items: list[_Item] | None = None


_list = msgspec.json.Decoder(_List)


def decode(body: bytes) -> tuple[list[Annotated], str]:
    """Return a part of a list, and where the next part starts; empty: this was the last.

    Raises ValueError for what isn't a list of objects with metadata.
    """
    found = _list.decode(body)
    return [item.metadata for item in found.items or ()], found.metadata.more
