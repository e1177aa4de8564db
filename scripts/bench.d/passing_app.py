"""What users of the library write: one route of a FastAPI app that passes everything on.

LIBRARY is the package whose ``proxy_pass`` it is; without it the route answers by itself, and nothing is passed on.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module

from fastapi import FastAPI, Request, Response

BACKEND = os.environ["BACKEND"]
package = import_module(os.environ["LIBRARY"]) if "LIBRARY" in os.environ else None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """With the client that both packages want to be opened here."""
    if package is None:
        yield
    else:
        async with package.Proxy(app):
            yield


app = FastAPI(lifespan=lifespan)


@app.api_route("/{path:path}", methods=["GET", "POST"])
async def index(request: Request) -> Response:
    """As on the page of the package it grew from."""
    if package is None:
        return Response("hello, world\n")
    answer: Response = await package.proxy_pass(request, BACKEND)
    return answer
