"""A program that a user of 0.4.0 has: what that version has more than 0.2.0."""

import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, HTTPException, Request, WebSocket, WebSocketException
from fastapi_reverse_proxy import HealthChecker, LoadBalancer, Proxy, get_httpx_client, proxy_pass, proxy_pass_websocket

BACKEND, OTHER, TALKER = os.environ["BACKEND"], os.environ["OTHER"], os.environ["TALKER"]
NOBODY = "http://127.0.0.1:1"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

checker = HealthChecker([{"host": OTHER, "pingpath": "/small"}, {"host": NOBODY}], interval=3600)
particular = HealthChecker([{"host": BACKEND, "pingpath": "/no-head"}], interval=3600)
health = LoadBalancer(checker)


own = FastAPI()


@asynccontextmanager
async def lifespan(app: FastAPI):
    own.state.http_proxy_client = httpx.AsyncClient(headers={"X-Client": "of my own"})
    async with Proxy(app), checker, particular, own.state.http_proxy_client:
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/mounted", own)


@own.post("/{path:path}")
async def with_my_client(req: Request, path: str):
    return await proxy_pass(req, BACKEND, f"/{path}", additional_headers={"X-More": "that"})


@app.get("/own/status")
async def status():
    return {"healthy": checker.get_healthy_targets(), "fastest": checker.get_fastest(), "all": health.get_all()}


@app.get("/own/no-head")
async def no_head():
    return {"healthy": particular.get_healthy_targets()}


@app.get("/own/client")
async def with_the_client(req: Request):
    client = await get_httpx_client(req)
    async with client.stream("POST", f"{BACKEND}/echo", json={"a": 1}) as answer:
        return {"status": answer.status_code, "text": (await answer.aread()).decode()}


@app.post("/own/dict")
async def with_dict(req: Request):
    return await proxy_pass(req, BACKEND, "/echo", override_body={"a": [1, "é"]}, override_headers={"X-Only": "this"})


@app.post("/own/list")
async def with_list(req: Request):
    return await proxy_pass(req, BACKEND, "/echo", override_body=[1, 2])


@app.post("/own/text")
async def with_text(req: Request):
    return await proxy_pass(req, BACKEND, "/echo", override_body="é")


@app.get("/own/host")
async def with_host(req: Request):
    return await proxy_pass(req, BACKEND, "/small", override_host="shop.example")


@app.get("/own/failover")
async def failover(req: Request):
    try:
        return await proxy_pass(req, NOBODY, "/small")
    except HTTPException as error:
        return await proxy_pass(
            req, OTHER, "/small", additional_headers={"X-After": f"{error.status_code} {error.detail}"}
        )


@app.get("/own/nobody")
async def nobody(req: Request):
    return await proxy_pass(req, NOBODY)


@app.get("/own/silent")
async def silent(req: Request):
    return await proxy_pass(req, BACKEND, "/silent", timeout=0.2)


@app.api_route("/health/{path:path}", methods=METHODS)
async def by_health(req: Request, path: str):
    return await health.proxy_pass(req, f"/{path}")


@app.websocket("/nobody/talk")
async def talk_to_nobody(websocket: WebSocket):
    try:
        await proxy_pass_websocket(websocket, NOBODY, timeout=1.0)
    except WebSocketException as error:
        await websocket.accept()
        await websocket.close(4000, str(error.code))


@app.websocket("/{path:path}")
async def talk(websocket: WebSocket):
    await proxy_pass_websocket(websocket, TALKER, subprotocols=["echo"], additional_headers={"X-More": "that"})


@app.api_route("/{path:path}", methods=METHODS)
async def index(req: Request):
    return await proxy_pass(req, BACKEND)
