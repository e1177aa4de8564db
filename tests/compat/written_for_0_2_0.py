"""A program that a user of 0.2.0 has, after its page."""

import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request, WebSocket
from fastapi_reverse_proxy import (
    HealthChecker,
    LoadBalancer,
    close_httpx_client,
    create_httpx_client,
    get_httpx_client,
    proxy_pass,
    proxy_pass_websocket,
)

BACKEND, OTHER, TALKER = os.environ["BACKEND"], os.environ["OTHER"], os.environ["TALKER"]
NOBODY = "http://127.0.0.1:1"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

checker = HealthChecker([BACKEND, NOBODY], interval=3600)
limited = HealthChecker([{"host": BACKEND, "pingpath": "/small", "maxrequests": 2}], interval=3600)
particular = HealthChecker([{"host": BACKEND, "pingpath": "/no-head"}], interval=3600)
health = LoadBalancer(checker)
quota = LoadBalancer(limited)
turns = LoadBalancer([BACKEND, OTHER])


@asynccontextmanager
async def lifespan(app: FastAPI):
    await create_httpx_client(app)
    async with checker, limited, particular:
        yield
    await close_httpx_client(app)


app = FastAPI(lifespan=lifespan)


@app.get("/own/status")
async def status():
    return {
        "healthy": checker.get_healthy_targets(),
        "timed": list(checker.get_response_times()),
        "fastest": checker.get_fastest(),
        "is_healthy": [checker.is_healthy(target) for target in (f"{BACKEND}/any", NOBODY, "http://unheard.of")],
        "down": [target for target, state in checker.status.items() if state is False],
        "ping_path": checker.ping_path,
        "all": [health.get_all(), turns.get_all(), quota.get_all()],
        "peek": health.peek(),
        "limits": [health.max_requests, turns.max_requests],
    }


@app.get("/own/no-head")
async def no_head():
    return {"healthy": particular.get_healthy_targets()}


@app.get("/own/client")
async def with_the_client(req: Request):
    client = await get_httpx_client(req)
    answer = await client.get(f"{BACKEND}/small", params={"a": "1 2"})
    return {"status": answer.status_code, "text": answer.text}


@app.api_route("/own/overrides", methods=METHODS)
async def overrides(req: Request):
    return await proxy_pass(
        req,
        BACKEND,
        "/echo?first=1",
        override_headers={"X-Only": "this"},
        additional_headers={"X-More": "that"},
        override_body=b"mine",
        method="PUT",
    )


@app.api_route("/own/added", methods=METHODS)
async def added(req: Request):
    return await proxy_pass(req, BACKEND, path="/echo", forward_query=False, additional_headers={"X-More": "that"})


@app.api_route("/own/query", methods=METHODS)
async def query(req: Request):
    return await proxy_pass(req, host=BACKEND, path="/echo?first=1", timeout=5)


@app.get("/own/nobody")
async def nobody(req: Request):
    return await proxy_pass(req, NOBODY)


@app.get("/own/failover")
async def failover(req: Request):
    try:
        return await proxy_pass(req, NOBODY, "/small")
    except httpx.ConnectError:
        return await proxy_pass(req, OTHER, "/small")


@app.get("/own/caught")
async def caught(req: Request):
    try:
        return await proxy_pass(req, BACKEND, "/silent", timeout=0.2)
    except httpx.ReadTimeout as error:
        return {"is_timeout": isinstance(error, httpx.TimeoutException)}


@app.api_route("/health/{path:path}", methods=METHODS)
async def by_health(req: Request, path: str):
    return await health.proxy_pass(req, f"/{path}")


@app.get("/quota/{path:path}")
async def by_quota(req: Request, path: str):
    return await quota.proxy_pass(req, f"/{path}")


@app.get("/turns/{path:path}")
async def in_turns(req: Request, path: str):
    return await turns.proxy_pass(req, f"/{path}", additional_headers={"X-Turn": "yes"})


@app.websocket("/talk/{path:path}")
async def talk(websocket: WebSocket, path: str):
    await proxy_pass_websocket(websocket, TALKER, f"/{path}")


@app.api_route("/{path:path}", methods=METHODS)
async def index(req: Request):
    return await proxy_pass(req, BACKEND)
