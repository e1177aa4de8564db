"""A gateway in somebody's app: behind its middleware and dependencies, by its own routes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response

from apps import running
from backend import Backend, answers
from raw_client import RawClient, fetch
from redis_server import RedisServer
from sidecar.contract.config import Config
from sidecar.contract.connect import connect
from talker import BINARY, TEXTS, conversation, talking
from waiting import eventually
from worker.library import Gateway


@pytest.fixture
async def other() -> AsyncIterator[Backend]:
    async with Backend(answers(body=b"other")) as backend:
        yield backend


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def test_backends_see_the_path_below_the_mount_byte_for_byte(backend: Backend):
    gateway, app = Gateway([backend.url]), FastAPI()
    app.mount("/api v1", gateway)
    async with running(app) as url:
        assert (await fetch(port_of(url), "/api%20v1//a/%7Eb?x=1")).body == b"ok"
        assert (await fetch(port_of(url), "/elsewhere")).status == 404
        await gateway.aclose()
    assert [request.target for request in backend.requests] == [b"//a/%7Eb?x=1"]


async def test_the_prefix_stays_where_it_is_wanted(backend: Backend):
    gateway, app = Gateway([backend.url], keeps_prefix=True), FastAPI()
    app.mount("/api", gateway)
    async with running(app) as url:
        await fetch(port_of(url), "/api/a")
        await gateway.aclose()
    assert [request.target for request in backend.requests] == [b"/api/a"]


async def test_the_limits_of_its_config_hold(backend: Backend):
    config = Config.model_validate({"listen": {"max_body_bytes": 3}, "pools": {"a": {"backends": [backend.url]}}})
    gateway = Gateway(config)
    async with running(gateway) as url, RawClient(port_of(url)) as client:
        await client.request("POST", "/", [("host", "a")], b"four")
        assert (await client.read_response()).status == 413


async def test_a_dead_backend_is_passed_over(backend: Backend, other: Backend):
    other.refuse()
    gateway = Gateway({"default": [backend.url, other.url]})
    async with running(gateway) as url:
        assert [(await fetch(port_of(url))).status for _ in range(10)] == [200] * 10


async def test_routes_of_a_file_lead_to_its_pools(backend: Backend, other: Backend, tmp_path: Path):
    file = tmp_path / "sidebeat.toml"
    file.write_text(
        f'[pools.a]\nbackends = ["{backend.url}"]\n[pools.b]\nbackends = ["{other.url}"]\n'
        '[[routes]]\npool = "a"\n[[routes]]\npool = "b"\npath_prefix = "/b"\n'
    )
    async with running(Gateway(file)) as url:
        assert [(await fetch(port_of(url), target)).body for target in ("/", "/b/x")] == [b"ok", b"other"]


async def test_what_stands_in_front_comes_first(backend: Backend):
    gateway, app = Gateway([backend.url]), FastAPI()
    app.mount("/open", gateway)

    @app.middleware("http")
    async def check(request: Request, call_next: Any) -> Any:
        return await call_next(request) if "authorization" in request.headers else Response(status_code=401)

    async with running(app) as url:
        assert (await fetch(port_of(url), "/open/a")).status == 401
        known = [("host", "a"), ("authorization", "me")]
        assert (await fetch(port_of(url), "/open/a", headers=known)).status == 200
        await gateway.aclose()
    assert len(backend.requests) == 1


async def test_websockets_pass_too():
    async with talking() as talker, running(Gateway([talker.url])) as url:
        told = await conversation(f"{url.replace('http', 'ws')}/chat")
    assert (told.echoes, talker.path) == ((*TEXTS, *BINARY), "/chat")


async def test_with_a_store_it_reports_to_it(
    backend: Backend, shared_redis: RedisServer, namespace: str, tmp_path: Path
):
    file = tmp_path / "sidebeat.toml"
    file.write_text(
        f'[store]\nurl = "{shared_redis.url}"\nnamespace = "{namespace}"\nhost = "h"\n'
        f'[pools.a]\nbackends = ["{backend.url}"]\n'
    )
    async with running(Gateway(file)) as url, connect(shared_redis.url) as store:
        assert (await fetch(port_of(url))).status == 200

        async def reported() -> object:
            return await store.keys(f"sidebeat:{{{namespace}:a@h}}:worker:*")

        await eventually(reported)


async def test_date_and_server_are_said_once_by_whoever_knows(backend: Backend):
    backend.handler = answers(headers=[("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Server", "origin")])
    gateway = Gateway([backend.url])
    async with running(gateway) as url:
        answer = await fetch(port_of(url))
        backend.refuse()
        backend.drop_connections()
        refusal = await fetch(port_of(url))
    assert (answer.all("date"), answer.all("server")) == ([b"Thu, 01 Jan 1970 00:00:00 GMT"], [b"origin"])
    assert (refusal.status, len(refusal.all("date"))) == (502, 1)
