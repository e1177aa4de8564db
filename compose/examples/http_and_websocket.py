"""HTTP and WebSocket to the same backend, on the same paths.

BACKEND=http://127.0.0.1:8081 uvicorn --app-dir compose/examples http_and_websocket:app
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response, WebSocket

from worker import Proxy, proxy_pass, proxy_pass_websocket

BACKEND = os.environ.get("BACKEND", "http://127.0.0.1:8081")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connections to backends are kept for as long as the app runs."""
    async with Proxy(app):
        yield


app = FastAPI(lifespan=lifespan)


@app.websocket("/{path:path}")
async def converse(websocket: WebSocket) -> None:
    """Accepted once the backend has accepted it, with its subprotocol; closed with the code of whoever closes it."""
    await proxy_pass_websocket(websocket, BACKEND)


@app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def forward(request: Request) -> Response:
    """Everything else."""
    return await proxy_pass(request, BACKEND)
