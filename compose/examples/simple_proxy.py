"""One route, one backend: what a client sends goes there as it is, and the answer comes back as it is.

BACKEND=http://127.0.0.1:8081 uvicorn --app-dir compose/examples simple_proxy:app
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response

from worker import Proxy, proxy_pass

BACKEND = os.environ.get("BACKEND", "http://127.0.0.1:8081")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connections to backends are kept for as long as the app runs."""
    async with Proxy(app):
        yield


app = FastAPI(lifespan=lifespan)


@app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def forward(request: Request) -> Response:
    """Everything, with its path, query, fields and body."""
    return await proxy_pass(request, BACKEND)
