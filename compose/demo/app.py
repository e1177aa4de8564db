"""A backend for demonstrations: an ordinary FastAPI app whose speed differs from its siblings' and changes over time.

DEMO_NAME is the name it answers with. `/` takes DEMO_BASE_MS plus a wave of up to DEMO_WAVE_MS that repeats every
DEMO_PERIOD_S. `python app.py FD` serves it on an inherited bound socket, `uvicorn --factory app:create_app` anywhere.
"""

import asyncio
import math
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, StreamingResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long an answer takes: `base_s`, plus between 0 and `wave_s`, back at its start after `period_s`."""

    base_s: float
    wave_s: float
    period_s: float

    def delay_s(self, now: float) -> float:
        """The delay at a monotonic point in time."""
        return self.base_s + self.wave_s * (1 - math.cos(2 * math.pi * now / self.period_s)) / 2


def pace_from(environment: Mapping[str, str]) -> Pace:
    """The pace that the DEMO_* variables ask for; 10 ms when they are silent."""
    return Pace(
        base_s=float(environment.get("DEMO_BASE_MS", "10")) / 1000,
        wave_s=float(environment.get("DEMO_WAVE_MS", "0")) / 1000,
        period_s=float(environment.get("DEMO_PERIOD_S", "30")),
    )


def create_app() -> FastAPI:
    """The app, as the environment describes it."""
    name = os.environ.get("DEMO_NAME", "demo")
    app = FastAPI(title=f"sidebeat demo backend {name}")
    add_plain_routes(app, name, pace_from(os.environ))
    add_odd_routes(app, name)
    add_streams(app, name)
    return app


def add_plain_routes(app: FastAPI, name: str, pace: Pace) -> None:
    """What most backends have."""

    @app.get("/")
    async def home() -> dict[str, str | int | float]:
        delay_s = pace.delay_s(time.monotonic())
        await asyncio.sleep(delay_s)
        return {"backend": name, "pid": os.getpid(), "took_ms": round(delay_s * 1000, 1)}

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"backend": name, "status": "ok"}


def add_odd_routes(app: FastAPI, name: str) -> None:
    """Slow, failing and talkative answers, for trying a proxy out."""

    @app.get("/slow")
    async def slow(ms: float = 200) -> dict[str, str | float]:
        await asyncio.sleep(ms / 1000)
        return {"backend": name, "took_ms": ms}

    @app.get("/fail")
    async def fail(status: int = 500) -> Response:
        return JSONResponse({"backend": name, "failed": "because it was asked to"}, status)

    @app.api_route("/echo", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    async def echo(request: Request) -> dict[str, object]:
        return {
            "backend": name,
            "method": request.method,
            "target": str(request.url),
            "headers": [[key.decode("latin-1"), value.decode("latin-1")] for key, value in request.headers.raw],
            "body": (await request.body()).decode("utf-8", "replace"),
        }


def add_streams(app: FastAPI, name: str) -> None:
    """Connections that stay open."""

    @app.get("/sse")
    async def sse(interval_ms: float = 1000, count: int | None = None) -> StreamingResponse:
        async def ticks() -> AsyncIterator[str]:
            number = 0
            while count is None or number < count:
                number += 1
                yield f"id: {number}\nevent: tick\ndata: {name}\n\n"
                await asyncio.sleep(interval_ms / 1000)

        return StreamingResponse(ticks(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    @app.websocket("/ws")
    async def ws(websocket: WebSocket) -> None:
        await websocket.accept(headers=[(b"x-demo-backend", name.encode())])
        try:
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await websocket.send({**message, "type": "websocket.send"})
        except WebSocketDisconnect:
            return


def serve(descriptor: int) -> None:
    """Serve on a bound socket that was inherited; one second for open streams at the end."""
    config = uvicorn.Config(create_app(), log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    serve(int(sys.argv[1]))
