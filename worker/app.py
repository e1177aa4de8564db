"""Our own endpoints, on the admin socket only: is this process alive, may traffic come, what was counted.

Everything is answered from the board and from memory, for the whole host; none of it asks Redis.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Protocol

from fastapi import FastAPI, Header, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from worker.metrics import HostMetrics, Measured
from worker.readiness import Served, readiness


class Runtime(Served, Measured, Protocol):
    """What the endpoints look at; ``worker.runtime`` has the real one."""


def create_app(runtime: Runtime, clock: Callable[[], float] = time.monotonic) -> FastAPI:
    """The admin socket's application. ``clock`` is monotonic, the one that ``runtime.knowledge`` ages by."""
    app = FastAPI(title="sidebeat", docs_url=None, redoc_url=None, openapi_url=None)
    host = HostMetrics(runtime, clock)

    @app.get("/", response_class=PlainTextResponse)
    async def index() -> str:
        """For a person who opens the address that `up` prints: what can be asked for here."""
        return "".join(f"{route.path}\n" for route in app.routes if isinstance(route, Route) and route.path != "/")

    @app.api_route("/livez", methods=["GET", "HEAD"])
    async def livez() -> dict[str, bool]:
        """The loop of a worker turns: this answer is the proof."""
        return {"alive": True}

    @app.api_route("/readyz", methods=["GET", "HEAD"])
    async def readyz() -> JSONResponse:
        """200 when traffic may come, else 503 with the reason."""
        found = readiness(runtime)
        ready = not found.failing
        return JSONResponse({"ready": ready, **asdict(found)}, status_code=200 if ready else 503)

    @app.get("/metrics")
    async def metrics(accept: Annotated[str, Header()] = "") -> Response:
        """Prometheus' text, or OpenMetrics for who asks for it."""
        text, content_type = await host.render(accept)
        return Response(text, media_type=content_type)

    return app
