"""Warnings about a pod, in the form that refusals have: `field = value: why; accepted: …`."""

_SHOWN = 60
"""Characters of a value. The API server cuts warnings at 256."""


def remark(where: str, field: str, value: str, why: str, accepted: str = "") -> str:
    """One warning; `where` is `container NAME`, `pod` or `namespace`."""
    shown = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
    if not shown or not shown.isprintable() or shown != shown.strip():
        shown = repr(shown)
    return f"{where}: {field} = {shown}: {why}" + (f"; accepted: {accepted}" if accepted else "")
