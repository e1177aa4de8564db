"""``GET /explain`` on the admin socket: the record as JSON. Reading it changes nothing."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from worker.explain.explanation import Question, explain
from worker.failure import Refused
from worker.runtime import Runtime


def explain_routes(runtime: Runtime) -> APIRouter:
    """The route, over this worker."""
    router = APIRouter()

    @router.get("/explain")
    async def _explain(
        url: str,
        method: str = "GET",
        header: Annotated[list[str] | None, Query()] = None,
        client: str = "127.0.0.1",
    ) -> JSONResponse:
        """200 with the record; 400 where no request can be made of what is asked."""
        question = Question(method=method, url=url, headers=header or (), client=client)
        try:
            return JSONResponse(asdict(await explain(runtime, question)))
        except Refused as refused:
            return JSONResponse({"error": str(refused)}, status_code=400)

    return router
