"""The last hour, from the Prometheus that the chart names, through the API server with the viewer's own rights."""

import asyncio
import math
import time
from typing import Any

from cli import prometheus
from unigpu import names
from unigpu_kube.client import Client

API_VERSION = f"{names.DOMAIN}/history/v1"
HOUR = 3600.0
STEP = 60.0


def expressions(namespace: str) -> dict[str, str]:
    """Return what is asked, by name; of one namespace where it isn't empty."""
    of = f'{{namespace="{namespace}"}}' if namespace else ""
    found = {
        "memoryUsed": f"sum({names.METRIC_MEMORY_USED}{of})",
        "memoryGranted": f"sum({names.METRIC_MEMORY_LIMIT}{of})",
        "gpusBusy": f"sum(rate({names.METRIC_COMPUTE_SECONDS}{of}[5m]))",
        "shares": f"count({names.METRIC_CONTAINER_INFO}{of})",
    }
    if not namespace:
        found["memoryGranted"] = f"sum({names.METRIC_GPU_MEMORY_GRANTED})"
        found["memoryTotal"] = f"sum({names.METRIC_GPU_MEMORY_TOTAL})"
    return found


async def document(api: Client, service: str, namespace: str, now: float | None = None) -> dict[str, Any]:
    """Return the last hour, a point a minute; null where nothing was scraped.

    `service`: the path of Prometheus' proxy. Raises Rejected where the viewer may not use it, Unavailable.
    """
    end = math.floor((time.time() if now is None else now) / STEP) * STEP
    get = prometheus.through_api_server(api, service)
    asked = expressions(namespace)
    answers = await asyncio.gather(
        *(prometheus.range_(get, expression, end - HOUR, end, STEP) for expression in asked.values())
    )
    times = [end - HOUR + STEP * number for number in range(int(HOUR / STEP) + 1)]
    series = {}
    for name, found in zip(asked, answers, strict=True):
        points = dict(found[0].points) if found else {}
        series[name] = [points.get(at) for at in times]
    return {"apiVersion": API_VERSION, "namespace": namespace or None, "times": times, "series": series}
