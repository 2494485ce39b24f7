"""Every dialect. A new one is a file in this folder and a line here."""

from webhook.translation.dialects import (
    alibaba,
    cce,
    elastic,
    hami,
    kai,
    koordinator,
    nvshare,
    qgpu,
    tencent,
    unified,
    volcano,
    volcano_share,
)

ALL = (
    unified.DIALECT,
    alibaba.DIALECT,
    tencent.DIALECT,
    qgpu.DIALECT,
    hami.DIALECT,
    volcano.DIALECT,
    volcano_share.DIALECT,
    cce.DIALECT,
    koordinator.DIALECT,
    kai.DIALECT,
    elastic.DIALECT,
    nvshare.DIALECT,
)
OF_RESOURCE = {resource: dialect for dialect in ALL for resource in dialect.resources}
BY_ANNOTATION = tuple(dialect for dialect in ALL if dialect.annotations)
BY_NAME = {dialect.name: dialect for dialect in ALL}
