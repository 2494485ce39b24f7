"""/healthz and /readyz."""

from collections.abc import Callable

from aiohttp import web


async def start(port: int, missing: Callable[[], list[str]]) -> web.AppRunner:
    """Serve on all addresses of the pod. `missing` names what keeps the agent from serving containers; empty: ready."""

    async def alive(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_request: web.Request) -> web.Response:
        lacks = missing()
        return web.Response(status=503 if lacks else 200, text="\n".join(lacks or ["ok"]) + "\n")

    app = web.Application()
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
