"""Our own endpoints, on the admin socket only: is this process alive, may traffic come, what was counted.

Everything is answered from the board and from memory, for the whole host; none of it asks Redis.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Protocol

from fastapi import APIRouter, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from worker.metrics import HostMetrics, Measured
from worker.readiness import Served, readiness


class Runtime(Served, Measured, Protocol):
    """What the endpoints look at; ``worker.runtime`` has the real one."""


def create_app(runtime: Runtime, clock: Callable[[], float] = time.monotonic) -> FastAPI:
    """The admin socket's application. ``clock`` is monotonic, the one that ``runtime.knowledge`` ages by."""
    app = FastAPI(title="sidebeat", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.runtime, app.state.host = runtime, HostMetrics(runtime, clock)
    app.router.routes += _ROUTES.routes
    return app


_ROUTES = APIRouter()
"""Made before the fork, once for all workers: of what each had to do after it, that was half (30 ms, measured)."""


@_ROUTES.get("/", response_class=PlainTextResponse)
async def _index(request: Request) -> str:
    """For a person who opens the address that `up` prints: what can be asked for here."""
    return "".join(f"{route.path}\n" for route in request.app.routes if isinstance(route, Route) and route.path != "/")


@_ROUTES.api_route("/livez", methods=["GET", "HEAD"])
async def _livez() -> dict[str, bool]:
    """The loop of a worker turns: this answer is the proof."""
    return {"alive": True}


@_ROUTES.api_route("/readyz", methods=["GET", "HEAD"])
async def _readyz(request: Request) -> JSONResponse:
    """200 when traffic may come, else 503 with the reason."""
    found = readiness(request.app.state.runtime)
    ready = not found.failing
    return JSONResponse({"ready": ready, **asdict(found)}, status_code=200 if ready else 503)


@_ROUTES.get("/metrics")
async def _metrics(request: Request, accept: Annotated[str, Header()] = "") -> Response:
    """Prometheus' text, or OpenMetrics for who asks for it."""
    text, content_type = await request.app.state.host.render(accept)
    return Response(text, media_type=content_type)
