"""A Socket.IO server behind the app's own routes: its polling, and the WebSocket that a session is upgraded to.

BACKEND=http://127.0.0.1:8081 uvicorn --app-dir compose/examples socket_io:app
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


@app.get("/")
async def home() -> dict[str, str]:
    """This one is the app's own."""
    return {"hello": "from the app"}


@app.api_route("/socket.io/", methods=["GET", "POST", "OPTIONS"])
async def poll(request: Request) -> Response:
    """A session begins with requests, which wait at the backend for news; no answer within a minute is an error."""
    return await proxy_pass(request, BACKEND, timeout=60.0)


@app.websocket("/socket.io/")
async def converse(websocket: WebSocket) -> None:
    """And it goes on here where the client can."""
    await proxy_pass_websocket(websocket, BACKEND)
