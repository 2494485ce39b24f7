"""Every dialect. A new one is a file here, a line in this one, and its resources in unigpu/vendor_resources.py."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from unigpu import configured_dialects, names
from unigpu.configured_dialects import STANDARD, Words
from webhook.translation.dialect import Dialect
from webhook.translation.dialects import (
    alibaba,
    cce,
    configured,
    elastic,
    hami,
    kai,
    koordinator,
    nvfractions,
    nvshare,
    qgpu,
    tencent,
    tensor_fusion,
    unified,
    vgpu_manager,
    volcano,
    volcano_share,
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The dialects that a cluster understands."""

    all: tuple[Dialect, ...]
    of_resource: Mapping[str, Dialect]
    by_annotation: tuple[Dialect, ...]
    by_name: Mapping[str, Dialect]
    vendors: frozenset[str]
    """Every resource that isn't unigpu's own."""


@functools.lru_cache(maxsize=16)
def vocabulary(words: Words) -> Vocabulary:
    """Return the dialects with what the cluster's configuration renames and adds."""
    every = (
        unified.DIALECT,
        alibaba.DIALECT,
        tencent.DIALECT,
        qgpu.DIALECT,
        hami.renamed(words.hami),
        volcano.DIALECT,
        volcano_share.DIALECT,
        cce.DIALECT,
        koordinator.DIALECT,
        kai.DIALECT,
        elastic.DIALECT,
        nvshare.DIALECT,
        vgpu_manager.DIALECT,
        nvfractions.DIALECT,
        tensor_fusion.DIALECT,
        *(configured.dialect(one) for one in words.additional),
    )
    found = {resource: dialect for dialect in every for resource in dialect.resources}
    return Vocabulary(
        all=every,
        of_resource=found,
        by_annotation=tuple(dialect for dialect in every if dialect.annotations or dialect.families),
        by_name={dialect.name: dialect for dialect in every},
        vendors=frozenset(configured_dialects.resources(words)) | (found.keys() - set(names.UNIFIED_RESOURCES)),
    )


_STANDARD = vocabulary(STANDARD)
ALL = _STANDARD.all
OF_RESOURCE = _STANDARD.of_resource
