"""Every dialect. A new one is a file in this folder and a line here."""

from webhook.dialects import alibaba, hami, tencent, unified, volcano

ALL = (
    unified.DIALECT,
    alibaba.DIALECT,
    tencent.DIALECT,
    hami.DIALECT,
    volcano.DIALECT,
)
BY_NAME = {dialect.name: dialect for dialect in ALL}
