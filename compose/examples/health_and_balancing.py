"""Only backends that pass their health checks get requests; each request goes to the less busy of a few of them.

BACKENDS="http://127.0.0.1:8081 http://127.0.0.1:8082" uvicorn --app-dir compose/examples health_and_balancing:app

Without ``policy`` all of them go to whoever answered the latest check fastest, as ``fastapi-reverse-proxy`` has it.
With ``redis_url`` nothing is checked here: all processes follow the one view that ``sidebeat monitor`` publishes.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response

from worker import HealthChecker, LoadBalancer, Proxy

BACKENDS = os.environ.get("BACKENDS", "http://127.0.0.1:8081 http://127.0.0.1:8082").split()

checker = HealthChecker(BACKENDS, interval=2, timeout=1, ping_path="/healthz")
balancer = LoadBalancer(checker, policy="p2c_ewma")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The first checks are over before the first request is taken."""
    async with Proxy(app), checker:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, float | bool]:
    """Each backend's latest check: how many milliseconds it took, or false."""
    return checker.status


@app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def forward(request: Request) -> Response:
    """503 where nobody is healthy."""
    return await balancer.proxy_pass(request, request.url.path)
