"""The console's application, put together."""

from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from sidecar.console.access import Access
from sidecar.console.door import Door
from sidecar.console.look import Look
from sidecar.console.orders import order_routes
from sidecar.console.pages import pages
from sidecar.console.reading import process_routes, reading_routes
from sidecar.console.session import session_routes
from sidecar.console.setting import Exposition, Live
from sidecar.console.stream import CrowdedError, Stream
from sidecar.status import UnreadableError


def create_app(live: Live, stream: Stream, look: Look, metrics: Exposition | None = None) -> FastAPI:
    """All routes behind the door. ``stream`` has to run beside it; ``metrics`` None: there is no ``/metrics``."""
    app = FastAPI(
        title="sidebeat console", version=version("sidebeat"), openapi_url="/api/openapi.json", docs_url=None,
        redoc_url=None,
    )  # fmt: skip
    access = Access(live)
    app.include_router(session_routes(live, access))
    app.include_router(reading_routes(live, look, stream, access))
    app.include_router(order_routes(live, look, access))
    app.include_router(process_routes(metrics, access))
    app.include_router(pages())
    app.add_middleware(Door, live=live)

    @app.exception_handler(UnreadableError)
    async def unreadable(_: Request, error: UnreadableError) -> JSONResponse:
        return JSONResponse({"detail": f"store.url: {error}"}, 503)

    @app.exception_handler(CrowdedError)
    async def crowded(_: Request, __: CrowdedError) -> JSONResponse:
        return JSONResponse({"detail": "too many listen already"}, 503, {"Retry-After": "5"})

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"detail": f"{where}: {first['msg']}"}, 422)

    return app
