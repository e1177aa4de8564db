"""An app that forwards with the library, served in the test; its route is the test's to replace."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket

from apps import running
from worker.library import Proxy
from worker.library.engine import Engine

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class ProxyApp:
    """A catch-all route, `route`, and a WebSocket's, `socket`, behind one `Proxy`; `port` once it is served."""

    def __init__(self, **options: Any) -> None:
        self.route: Callable[[Request], Awaitable[Response]]
        self.socket: Callable[[WebSocket], Awaitable[None]]
        self.port = 0
        self.app = FastAPI(lifespan=self._lifespan)
        self._options = options
        self.app.api_route("/{path:path}", methods=METHODS)(self._route)
        self.app.websocket("/{path:path}")(self._socket)

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        async with Proxy(app, **self._options):
            yield

    async def _route(self, request: Request) -> Response:
        return await self.route(request)

    async def _socket(self, websocket: WebSocket) -> None:
        await self.socket(websocket)

    @property
    def engine(self) -> Engine:
        """What forwards."""
        engine: Engine = self.app.state.http_proxy_client.own_transport.engine
        return engine


@asynccontextmanager
async def proxy_app(
    *, proxy_headers: bool = False, ws: str = "websockets-sansio", **options: Any
) -> AsyncIterator[ProxyApp]:
    """One that is being served; with `proxy_headers` uvicorn takes loopback for a proxy, as it does unless told."""
    made = ProxyApp(**options)
    async with running(made.app, proxy_headers=proxy_headers, ws=ws) as url:
        made.port = int(url.rpartition(":")[2])
        yield made
