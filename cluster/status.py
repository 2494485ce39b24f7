"""Report which parts of a cluster run."""

from __future__ import annotations

from cluster import control_plane, settings, state, units


def describe(layout: settings.Layout) -> tuple[list[str], bool]:
    """Return lines for people, and whether all units run."""
    known = state.load(layout)
    if known is None:
        return [f"There is no cluster {layout.name}."], False
    lines = [f"cluster {layout.name} at {known.server}, kubeconfig {layout.published_kubeconfig}"]
    healthy = True
    for name in (control_plane.UNIT, *known.nodes):
        process = units.recorded(layout.units / f"{name}.process")
        healthy = healthy and process is not None
        what = f"running as process {process.pid}" if process else "not running; `up` starts it again"
        lines.append(f"  {name}: {what}; logs in {layout.logs / name}")
    return lines, healthy
