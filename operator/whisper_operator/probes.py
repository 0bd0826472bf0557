"""/healthz, /readyz and /metrics. The caller passes in what healthy and ready mean.

Ready: the operator is the leader or a standby. Liveness fails only if a restart would help.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from whisper_operator.errors import StartError
from whisper_operator.metrics import Metrics


class Probes:
    """An HTTP server for the kubelet and for Prometheus."""

    def __init__(
        self, metrics: Metrics, *, unhealthy: Callable[[], str], unready: Callable[[], str], interface: str, port: int
    ) -> None:
        self._metrics = metrics
        self._unhealthy = unhealthy
        self._unready = unready
        self._interface = interface
        self._port = port
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Starts to listen; returns the port."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._exposition)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=5, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._interface, self._port).start()
        except OSError as error:
            raise StartError(
                f"INTERFACE {self._interface} and PORT {self._port} cannot be listened on: {error}"
            ) from None
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _answer(self._unhealthy())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self._unready())

    async def _exposition(self, request: web.Request) -> web.Response:
        content, content_type = self._metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=content, headers={"Content-Type": content_type})


def _answer(problem: str) -> web.Response:
    """`problem` empty: status 200."""
    return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)
