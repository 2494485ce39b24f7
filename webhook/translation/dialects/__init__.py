"""Every dialect. A new one is a file in this folder and a line here."""

from webhook.translation.dialects import alibaba, elastic, hami, kai, nvshare, qgpu, tencent, unified, volcano

ALL = (
    unified.DIALECT,
    alibaba.DIALECT,
    tencent.DIALECT,
    qgpu.DIALECT,
    hami.DIALECT,
    volcano.DIALECT,
    kai.DIALECT,
    elastic.DIALECT,
    nvshare.DIALECT,
)
OF_RESOURCE = {resource: dialect for dialect in ALL for resource in dialect.resources}
BY_ANNOTATION = tuple(dialect for dialect in ALL if dialect.annotations)
BY_NAME = {dialect.name: dialect for dialect in ALL}
