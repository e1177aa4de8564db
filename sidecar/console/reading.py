"""What is to be seen: the records of `sidebeat status --json` and `sidebeat events --json`, and more of the past."""

import json
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Response
from fastapi.responses import JSONResponse

from sidecar.console.access import DOCUMENTED, Access
from sidecar.console.look import Look
from sidecar.console.setting import Exposition, Live
from sidecar.console.stream import Stream
from sidecar.console.streaming import Streaming
from sidecar.contract.keys import PoolKeys
from sidecar.status import History, Status, histories, in_order, latest, pool_names, store_at

JSON = "application/json"
MOST_BACKENDS = 64
LAST = "+"
"""The end of a stream, whatever stands there."""

Points = Annotated[int, Query(ge=1, le=300, description="How many points of each; one is written a second.")]
Ids = Annotated[list[str], Query(alias="backend", max_length=MOST_BACKENDS, description="Whose; several may be named.")]


def reading_routes(live: Live, look: Look, stream: Stream, access: Access) -> APIRouter:
    """For whoever may read."""
    router = APIRouter(prefix="/api", tags=["reading"], dependencies=[Depends(access.reader), *DOCUMENTED])

    @router.get("/status", response_model=Status)
    async def status() -> Response:
        """Every pool, backend and worker, at most a quarter of a second old."""
        return Response((await look.seen()).text, media_type=JSON)

    @router.get("/stream", response_class=Response, responses={200: {"content": {"text/event-stream": {}}}})
    async def stream_() -> Response:
        """Server-Sent Events: `status` each second, `event` as it comes, `missed`, `trouble`."""
        return Streaming(stream)

    @router.get("/history/{pool}", response_model=dict[str, History])
    async def history(pool: str, backends: Ids, limit: Points = 60) -> Response:
        """The latest figures of some backends of a pool, in columns."""
        setting = live.setting
        async with store_at(setting.url) as store:
            found = await histories(store, PoolKeys(setting.namespace, pool), backends, count=limit)
        return Response(json.dumps({name: asdict(each) for name, each in found.items()}), media_type=JSON)

    @router.get("/events", response_class=JSONResponse)
    async def events(
        pool: str | None = None, backend: str | None = None, limit: Annotated[int, Query(ge=1, le=1_000)] = 100
    ) -> Response:
        """What changed, the oldest first."""
        return JSONResponse(await _events(live, pool, backend, limit))

    return router


async def _events(live: Live, pool: str | None, backend: str | None, limit: int) -> list[dict[str, object]]:
    setting = live.setting
    async with store_at(setting.url) as store:
        names = await pool_names(store, setting.namespace, setting.pools)
        if pool is not None and pool not in names:
            raise HTTPException(404, f"there is no pool {pool!r}")
        wanted = [PoolKeys(setting.namespace, name) for name in ([pool] if pool else names)]
        found = [
            each for keys in wanted for each in await latest(store, keys, backend=backend, count=limit, until=LAST)
        ]
    return [each.as_json() for each in in_order(found)[-limit:]]


def process_routes(metrics: Exposition | None, access: Access) -> APIRouter:
    """What machines ask a process for; without ``metrics`` there is no such route."""
    router = APIRouter(tags=["process"])

    @router.head("/livez", include_in_schema=False)
    @router.get("/livez")
    async def livez() -> dict[str, bool]:
        """This answer is the proof."""
        return {"alive": True}

    if metrics is not None:

        @router.get("/metrics", dependencies=[Depends(access.reader), *DOCUMENTED], response_class=Response)
        async def expose(accept: Annotated[str, Header()] = "") -> Response:
            """Prometheus' text of this monitor, or OpenMetrics for who asks for it."""
            text, media_type = metrics.render(accept)
            return Response(text, media_type=media_type)

    return router
