"""A backup takes over where the primary has no answer, and a page of ours says so where neither has one.

PRIMARY=http://127.0.0.1:8081 BACKUP=http://127.0.0.1:8082 uvicorn --app-dir compose/examples errors_and_failover:app
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from worker import Proxy, proxy_pass

PRIMARY = os.environ.get("PRIMARY", "http://127.0.0.1:8081")
BACKUP = os.environ.get("BACKUP", "http://127.0.0.1:8082")
PAGE = "<!doctype html><title>Back soon</title><h1>We are being repaired</h1><p>Please come back in a minute."


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connections to backends are kept for as long as the app runs."""
    async with Proxy(app):
        yield


app = FastAPI(lifespan=lifespan)


@app.api_route("/{path:path}", methods=["GET", "HEAD"])
async def read(request: Request) -> Response:
    """What may be asked twice is asked elsewhere: 502 is no connection or no answer, 504 one that took too long."""
    try:
        return await proxy_pass(request, PRIMARY, timeout=2.0)
    except HTTPException as error:
        return await proxy_pass(
            request, BACKUP, additional_headers={"X-Primary": f"{error.status_code} {error.detail}"}
        )


@app.api_route("/{path:path}", methods=["POST", "PUT", "PATCH", "DELETE"])
async def write(request: Request) -> Response:
    """What changes something goes to the primary alone, since nobody knows how far it got there."""
    return await proxy_pass(request, PRIMARY)


@app.exception_handler(HTTPException)
async def explain(_request: Request, error: HTTPException) -> Response:
    """An error page for people, with the status and the fields of the error itself."""
    return HTMLResponse(PAGE, error.status_code, error.headers)
