"""Who may read and who may write: by where the console is bound, how a request came, and what it bears."""

from typing import Any

import pytest
from httpx import AsyncClient
from redis.asyncio import Redis

import sidecar.console.guesses as guesses_module
from consoles import BEARER, TOKEN, asking, setting
from redis_server import RedisServer
from sidecar.admin import read
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Admin

WRONG = {"authorization": "Bearer not this one"}
DRAIN = "/api/pools/api/backends/a/drain"


async def logged_in(client: AsyncClient, token: str = TOKEN) -> int:
    return (await client.post("/api/login", json={"token": token})).status_code


@pytest.mark.parametrize(
    ("address", "fields", "logs_in", "may_read", "may_write"),
    [
        ("127.0.0.1:9900", {}, False, True, False),
        ("127.0.0.1:9900", WRONG, False, True, False),
        ("127.0.0.1:9900", BEARER, False, True, True),
        ("127.0.0.1:9900", {}, True, True, True),
        ("[::1]:9900", {}, False, True, False),
        ("unix:/run/console.sock", {}, False, True, False),
        ("unix:/run/console.sock", BEARER, False, True, True),
        ("127.0.0.1:9900", {"x-forwarded-for": "10.0.0.1"}, False, False, False),
        ("127.0.0.1:9900", {"x-forwarded-for": "10.0.0.1"}, True, True, True),
        ("127.0.0.1:9900", {"host": "ops.example"}, False, False, False),
        ("127.0.0.1:9900", {"host": "ops.example", **BEARER}, False, True, True),
        ("0.0.0.0:9900", {}, False, False, False),
        ("0.0.0.0:9900", WRONG, False, False, False),
        ("0.0.0.0:9900", {"authorization": f"Basic {TOKEN}"}, False, False, False),
        ("0.0.0.0:9900", BEARER, False, True, True),
        ("0.0.0.0:9900", {}, True, True, True),
        ("10.0.0.1:9900", {"host": "10.0.0.1:9900"}, False, False, False),
        ("10.0.0.1:9900", {"host": "10.0.0.1:9900"}, True, True, True),
    ],
)
async def test_who_may_read_and_who_may_write(
    shared_redis: RedisServer, namespace: str, store: Redis, address: str, fields: dict[str, str], logs_in: bool,
    may_read: bool, may_write: bool,
):  # fmt: skip
    async with asking(setting(shared_redis.url, namespace, address=address, hosts=["ops.example"])) as client:
        client.headers.update(fields)
        if logs_in:
            assert await logged_in(client) == 204
        session = (await client.get("/api/session")).json()
        assert (session["may_read"], session["may_write"]) == (may_read, may_write)
        for path in ("/api/status", "/api/history/api?backend=a"):
            assert (await client.get(path)).status_code == (200 if may_read else 401)
        answer = await client.post(DRAIN, json={})
        assert answer.status_code == (200 if may_write else 401)
        intents = (await read(store, PoolKeys(namespace, "api"))).intents
        assert {name: intent.admin for name, intent in intents.items()} == ({"a": Admin.DRAIN} if may_write else {})


async def test_a_login_is_a_cookie_that_scripts_and_other_sites_cannot_use_and_a_logout_takes_it_away(
    shared_redis: RedisServer, namespace: str, store: Redis
):
    async with asking(setting(shared_redis.url, namespace, session_s=600)) as client:
        answer = await client.post("/api/login", json={"token": TOKEN})
        attributes = answer.headers["set-cookie"].lower().split("; ")[1:]
        assert {"httponly", "samesite=strict", "path=/api/", "max-age=600"} <= set(attributes)
        assert TOKEN not in answer.headers["set-cookie"]
        assert (await client.post(DRAIN, json={})).status_code == 200
        assert (await client.post("/api/logout", json={})).status_code == 204
        assert (await client.post(DRAIN, json={})).status_code == 401


async def test_a_session_is_good_in_the_namespace_it_was_opened_in(
    shared_redis: RedisServer, namespace: str, store: Redis
):
    async with asking(setting(shared_redis.url, namespace)) as client:
        await logged_in(client)
        cookies: Any = dict(client.cookies)
    async with asking(setting(shared_redis.url, f"{namespace}-x")) as other:
        other.cookies.set(f"sidebeat_{namespace}-x", cookies[f"sidebeat_{namespace}"])
        assert (await other.post(DRAIN, json={})).status_code == 401


async def test_who_guesses_has_to_wait_even_with_the_right_one_at_last(
    shared_redis: RedisServer, namespace: str, store: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(guesses_module, "EACH_S", 600.0)
    async with asking(setting(shared_redis.url, namespace)) as client:
        assert [await logged_in(client, "wrong") for _ in range(6)] == [401] * 5 + [429]
        answer = await client.post("/api/login", json={"token": TOKEN})
        assert answer.status_code == 429
        assert 540 < int(answer.headers["retry-after"]) <= 600
        assert (await client.get("/api/status")).status_code == 200, "who only looks does not wait"
