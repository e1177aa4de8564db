"""``GET /explain`` on the admin socket: the record as JSON. Reading it changes nothing.

The admin socket asks nobody who he is, so what a page in the operator's browser can send there is refused: by way of
another origin, or of a name that it has led here (DNS rebinding).
"""

from dataclasses import asdict
from ipaddress import ip_address
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import JSONResponse

from worker.explain.explanation import Question, explain
from worker.explain.turns import CrowdedError, Turns
from worker.failure import Refused
from worker.runtime import Runtime


def serve_explanations(app: FastAPI, runtime: Runtime) -> None:
    """Have the app answer there, of this worker."""
    app.state.explained, app.state.turns = runtime, Turns(runtime.clock)
    app.router.routes += _ROUTES.routes  # one by one, so that the index names them


_ROUTES = APIRouter()
"""Made before the fork, as those of ``worker.app``."""


@_ROUTES.get("/explain")
async def _explain(
    request: Request,
    url: str,
    method: str = "GET",
    header: Annotated[list[str] | None, Query()] = None,
    client: str = "127.0.0.1",
) -> JSONResponse:
    """200 with the record; 400 where no request can be made of what is asked, 403 for a page, 503 in a crowd."""
    runtime: Runtime = request.app.state.explained
    turns: Turns = request.app.state.turns
    if _is_of_a_page(request) or not _is_by_our_name(request, runtime.config.store.host):
        why = "ask by an address, localhost or this host's own name, and not from a page"
        return JSONResponse({"error": why}, status_code=403)
    question = Question(method=method, url=url, headers=header or (), client=client)
    try:
        async with turns.one():
            return JSONResponse(asdict(await explain(runtime, question)))
    except Refused as refused:
        return JSONResponse({"error": str(refused)}, status_code=400)
    except CrowdedError:
        return JSONResponse({"error": "too many ask at once"}, status_code=503)


def _is_of_a_page(request: Request) -> bool:
    return "origin" in request.headers or request.headers.get("sec-fetch-site", "none") != "none"


def _is_by_our_name(request: Request, host: str) -> bool:
    """Whether Host is an address, or a name that nobody else can lead here; to a unix socket none can be led."""
    if request.client is None:
        return True
    try:
        name = (request.url.hostname or "").removesuffix(".")
        return name in ("localhost", host.lower()) or bool(ip_address(name))
    except ValueError:
        return False
