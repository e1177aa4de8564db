"""The package sidebeat grew from, at work as its page shows it: one route, health checks, balancing.

Runs in an environment of its own, which has nothing of ours in it.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi_reverse_proxy import HealthChecker, LoadBalancer, close_httpx_client, create_httpx_client

checker = HealthChecker(os.environ["BACKENDS"].split())
balancer = LoadBalancer(checker)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the client and start the checks."""
    await create_httpx_client(app)
    async with checker:
        yield
    await close_httpx_client(app)


app = FastAPI(lifespan=lifespan)


@app.api_route("/{path:path}", methods=["GET", "POST"])
async def forward(request: Request) -> Response:
    """Everything goes to a backend."""
    answer: Response = await balancer.proxy_pass(request, request.url.path)
    return answer


@app.websocket("/{path:path}")
async def converse(socket: WebSocket) -> None:
    """WebSockets, too."""
    await balancer.proxy_pass_websocket(socket, socket.url.path)
