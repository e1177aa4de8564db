"""A console that is served: its stream, its address, and what it bears from its clients."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient, AsyncHTTPTransport
from redis.asyncio import Redis

import sidecar.console.connection as connection_module
import sidecar.console.guesses as guesses_module
import sidecar.console.stream as stream_module
from consoles import BEARER, served, setting
from published import publish
from raw_client import RawClient
from redis_server import RedisServer
from sidecar.console.serving import Console
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Health, Verdict
from waiting import eventually

DOWN = Verdict(id="a", url="http://a:1", state=Health.UNHEALTHY, reason="connection refused")
DRAIN = "/api/pools/api/backends/a/drain"


async def frames(client: AsyncClient) -> AsyncGenerator[tuple[str, Any]]:
    """The stream's events: name and content."""
    async with client.stream("GET", "/api/stream") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        name = ""
        async for line in response.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)


async def until(stream: AsyncIterator[tuple[str, Any]], wanted: str, **fields: object) -> Any:
    """The content of the first event of that name that has these fields."""
    async with asyncio.timeout(20):
        async for name, content in stream:
            if name == wanted and content.items() >= fields.items():
                return content
    raise AssertionError("the stream has ended")


async def test_the_stream_shows_the_status_and_a_change_of_verdict(
    shared_redis: RedisServer, namespace: str, store: Redis, keys: PoolKeys
):
    async with served(setting(shared_redis.url, namespace)) as client:
        stream = frames(client)
        shown = await until(stream, "status")
        assert shown["pools"]["api"]["backends"]["a"]["state"] == "healthy"
        await publish(store, keys, DOWN)
        change: Any = {
            "epoch": "5",
            "backend": "a",
            "from": "healthy",
            "to": "unhealthy",
            "reason": "refused",
            "by": "m",
        }
        await store.xadd(keys.events, change)
        assert (await until(stream, "event"))["to"] == "unhealthy"
        shown = await until(stream, "status")
        assert shown["pools"]["api"]["backends"]["a"]["state"] == "unhealthy"
        await client.post(DRAIN, json={}, headers=BEARER)
        assert (await until(stream, "event"))["by"] == "console@127.0.0.1"


async def test_the_stream_says_that_the_store_is_away_and_goes_on_when_it_is_back(
    redis_server: RedisServer, namespace: str, keys: PoolKeys
):
    async with served(setting(redis_server.url, namespace)) as client:
        stream = frames(client)
        await until(stream, "status")
        redis_server.kill()
        assert "cannot be read" in (await until(stream, "trouble"))["error"]
        redis_server.start()
        await until(stream, "status")


async def test_the_stream_has_room_for_so_many(
    shared_redis: RedisServer, namespace: str, store: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stream_module, "MOST_LISTENERS", 1)
    async with served(setting(shared_redis.url, namespace)) as client:
        stream = frames(client)
        await until(stream, "status")
        assert (await client.get("/api/stream")).status_code == 503
        await stream.aclose()
        await eventually(lambda: anew(client))


async def anew(client: AsyncClient) -> bool:
    async with client.stream("GET", "/api/stream") as response:
        return response.status_code == 200


async def test_a_stream_ends_when_the_console_stops(shared_redis: RedisServer, namespace: str, store: Redis):
    console = Console(setting(shared_redis.url, namespace))
    async with AsyncClient(base_url=console.start().url) as client:
        stream = frames(client)
        await until(stream, "status")
        await console.stop()
        assert [name async for name, _ in stream if name != "status"] == []


async def test_on_a_unix_socket_it_is_for_its_user_alone_and_leaves_nothing(
    shared_redis: RedisServer, namespace: str, store: Redis, tmp_path: Path
):
    path = tmp_path / "c.sock"
    console = Console(setting(shared_redis.url, namespace, address=f"unix:{path}"))
    console.start()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(OSError, match="in use"):
        Console(setting(shared_redis.url, namespace, address=f"unix:{path}")).start()
    async with AsyncClient(transport=AsyncHTTPTransport(uds=str(path)), base_url="http://localhost") as client:
        assert (await client.get("/api/status")).status_code == 200
        assert (await client.post(DRAIN, json={}, headers=BEARER)).status_code == 200
    await console.stop()
    assert not path.exists()


async def test_a_socket_that_nobody_listens_on_any_more_is_replaced(
    shared_redis: RedisServer, namespace: str, tmp_path: Path
):
    path = tmp_path / "c.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    console = Console(setting(shared_redis.url, namespace, address=f"unix:{path}"))
    console.start()
    await console.stop()


async def test_idle_and_endless_clients_keep_nobody_out(
    shared_redis: RedisServer, namespace: str, store: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection_module, "MOST", 3)
    monkeypatch.setattr(connection_module, "HEAD_S", 0.2)
    console = Console(setting(shared_redis.url, namespace))
    where = console.start()
    try:
        async with asyncio.timeout(20):
            idle = [await asyncio.open_connection(where.host, where.port) for _ in range(5)]
            assert [await reader.read() for reader, _ in idle] == [b""] * 5, "closed, unheard or late"
            endless, writer = await asyncio.open_connection(where.host, where.port)
            writer.write(b"GET / HTTP/1.1\r\nx: " + b"y" * 200_000)
            with suppress(ConnectionError):
                assert await endless.read() == b"", "closed"
        async with AsyncClient(base_url=where.url) as client:
            assert (await client.get("/livez")).status_code == 200
            for _, each in [*idle, (endless, writer)]:
                each.close()
    finally:
        await console.stop()


@pytest.mark.parametrize("rest", [b"x", b"\r\n"], ids=["a body's byte", "an empty line"])
async def test_what_follows_an_answer_and_is_no_request_keeps_no_connection(
    shared_redis: RedisServer, namespace: str, rest: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection_module, "HEAD_S", 0.2)
    length = b"Content-Length: 9\r\n" if rest == b"x" else b""
    async with served(setting(shared_redis.url, namespace)) as client:
        port = client.base_url.port
        assert port
        async with RawClient(port) as raw:
            await raw.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + length + b"\r\n")
            assert (await raw.read_response()).status == 200
            await raw.send(rest)
            with suppress(ConnectionError):
                assert await raw.read_some() == b"", "closed"


async def test_a_guesser_is_known_by_its_address_whatever_it_says_of_it(
    shared_redis: RedisServer, namespace: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(guesses_module, "EACH_S", 600.0)
    async with served(setting(shared_redis.url, namespace)) as client:
        answers = [
            await client.post("/api/login", json={"token": "wrong"}, headers={"X-Forwarded-For": f"10.0.0.{number}"})
            for number in range(6)
        ]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]


async def test_under_another_setting_the_old_token_is_worth_nothing(
    shared_redis: RedisServer, namespace: str, store: Redis
):
    told = setting(shared_redis.url, namespace)
    console = Console(told)
    async with AsyncClient(base_url=console.start().url) as client:
        assert (await client.post("/api/login", json={"token": told.token})).status_code == 204
        assert (await client.post(DRAIN, json={})).status_code == 200
        console.change(replace(told, token="another one, which is long"))
        assert (await client.post(DRAIN, json={})).status_code == 401, "sessions, too"
        assert (await client.post(DRAIN, json={}, headers=BEARER)).status_code == 401
    await console.stop()


def test_without_a_token_there_is_no_console(namespace: str):
    with pytest.raises(ValueError, match="token"):
        replace(setting("redis://x", namespace), token="")
