"""Several backends in turn, for HTTP and WebSocket.

BACKENDS="http://127.0.0.1:8081 http://127.0.0.1:8082" uvicorn --app-dir compose/examples load_balancer:app
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response, WebSocket

from worker import LoadBalancer, Proxy

BACKENDS = os.environ.get("BACKENDS", "http://127.0.0.1:8081 http://127.0.0.1:8082").split()

balancer = LoadBalancer(BACKENDS)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connections to backends are kept for as long as the app runs."""
    async with Proxy(app):
        yield


app = FastAPI(lifespan=lifespan)


@app.websocket("/{path:path}")
async def converse(websocket: WebSocket) -> None:
    """Each conversation with the next backend."""
    await balancer.proxy_pass_websocket(websocket)


@app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def forward(request: Request) -> Response:
    """Each request to the next backend."""
    return await balancer.proxy_pass(request, request.url.path)
