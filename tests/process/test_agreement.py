"""The commands, the console, both kinds of metrics and the keys say the same of one system at one moment."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from redis.asyncio import Redis

from backend import Backend, Connection, Request
from chain import POOL, System, second_terminal, sidebeat, started, write_config
from exposed import samples
from raw_client import RawClient, fetch
from redis_server import RedisServer
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.contract.latency import BUCKETS, quantile
from sights import (
    FIGURES,
    Facts,
    disagreements,
    of_explain,
    of_monitor,
    of_status,
    of_store,
    of_workers,
    steady,
    untold,
)
from waiting import eventually
from wire import encode_head

KEYS = PoolKeys("default", POOL)
NAMES = ("alpha", "bravo", "charlie", "delta", "echo")
UPGRADE = [("Host", "a"), ("Connection", "Upgrade"), ("Upgrade", "chat")]
RULES = """
[pools.api.balancing]
policy = "round_robin"
[pools.api.outlier_detection]
base_ejection_s = 60.0
[pools.api.retry]
num_retries = 0
"""


class Answering:
    """A handler: `/hold` is never answered, an upgrade is an echo, and of `/` every so many fail."""

    def __init__(self) -> None:
        self.fails_each = 0
        self._asked = 0

    async def __call__(self, request: Request, connection: Connection) -> None:
        if request.header("upgrade"):
            await connection.send(
                encode_head("HTTP/1.1 101 Switching", [("upgrade", "chat"), ("connection", "upgrade")])
            )
            while data := await connection.reader.some():
                await connection.send(data)
        elif request.target == b"/hold":
            await connection.stall()
        else:
            self._asked += request.target == b"/"
            fails = self.fails_each and request.target == b"/" and self._asked % self.fails_each == 0
            await connection.respond(500 if fails else 200)


class Sights:
    """One running `up`, seen from everywhere."""

    def __init__(self, system: System, store: Redis, folder: Path) -> None:
        self._system = system
        self._store = store
        self._folder = folder

    async def __aenter__(self) -> Self:
        said = await eventually(lambda: self._system.program.said(r" console url=(\S+) token_file=(\S+)"))
        assert said
        bearer = {"authorization": f"Bearer {Path(said[2]).read_text().strip()}"}
        self._console = httpx.AsyncClient(base_url=said[1], headers=bearer, timeout=30)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._console.aclose()

    async def order(self, backend: str, verb: str) -> None:
        """What a button of the console's page does."""
        response = await self._console.post(f"/api/pools/{POOL}/backends/{backend}/{verb}", json={})
        assert response.status_code == 200, response.text

    async def _look(self) -> tuple[dict[str, Facts], dict[str, Facts]]:
        """What is told without a command, and what stood in the store when all of it was told."""
        told = await of_store(self._store, KEYS)
        told["status"] = await self._status()
        told["workers"] = of_workers(samples((await fetch(self._system.admin, "/metrics")).body))
        explained = await fetch(self._system.admin, "/explain?url=/", headers=[("host", "localhost")])
        told["explain"] = of_explain(json.loads(explained.body))
        told["monitor"] = await self._monitor()
        return told, await of_store(self._store, KEYS)

    async def _status(self) -> Facts:
        return of_status((await self._console.get("/api/status")).json()["pools"][POOL])

    async def _monitor(self) -> Facts:
        return of_monitor(samples((await self._console.get("/metrics")).content))

    async def knows_the_workers(self) -> bool:
        """Whether the monitor counts on from what both workers have reported: a condition to wait for."""
        told, _ = await self._look()
        return told["monitor"]["", "workers"] == 2

    async def times_are_those_of_the_buckets(self) -> bool:
        """Whether each backend's p50 and p99 are read off what the workers count: a condition to wait for."""
        told, _ = await self._look()
        for name in NAMES:
            counts: Any = told["workers"][name, "first bytes"]
            for share, what in ((0.5, "p50_ms"), (0.99, "p99_ms")):
                within_s = quantile(share, BUCKETS, counts, at_least=1)
                assert within_s is not None
                assert told["status"][name, what] == round(1_000 * within_s, 1)
        return True

    async def in_traffic(self) -> bool:
        """Whether what the monitor makes of requests, some of which fail, is told alike: a condition to wait for."""
        await ask(self._system.port, 10)
        made = {"redis": _figures((await of_store(self._store, KEYS))["redis"])}
        made["status"] = _figures(await self._status())
        made["monitor"] = _figures(await self._monitor())
        after = await of_store(self._store, KEYS)
        assert _figures(after["redis"]) == made["redis"], "the monitor has told anew meanwhile"
        assert disagreements(made) == {}
        return bool(made["monitor"]["delta", "rps"] and made["monitor"]["delta", "error_ratio"])

    async def agree(self) -> dict[str, Facts]:
        """What all of them tell that answer at once, when they tell the same: a condition to wait for."""
        told, after = await self._look()
        assert after == {place: told[place] for place in after}, "something has changed meanwhile"
        assert disagreements(told) == {}
        assert untold(told) == set()
        return told

    async def agree_on_what_became_of_it(self) -> dict[str, Facts]:
        """The same at the end of the test, when it shows all that was done."""
        told = await self.agree()
        assert told["explain"]["delta", "ejected here"]
        assert told["explain"]["bravo", "admin"] == "drain"
        assert told["explain"]["charlie", "weight"] == 7
        assert told["explain"]["echo", "state"] == "unhealthy"
        return told

    async def agree_with_commands(self) -> dict[str, Facts]:
        """The same with what commands print, but for what has changed while they ran."""
        before = await self.agree_on_what_became_of_it()
        commands = [("status", "--json"), ("top", "--json", "-n", "1"), ("explain", "GET", "/", "--json")]
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(second_terminal(*each, cwd=self._folder)) for each in commands]
        status, top, explain = (json.loads(each.result()) for each in asked)
        commanded = {
            "status by command": of_status(status["pools"][POOL]),
            "top by command": of_status(top["pools"][POOL]),
            "explain by command": of_explain(explain),
        }
        assert [facts.keys() for facts in commanded.values()] == [
            before[place].keys() for place in ("status", "status", "explain")
        ]
        told = steady(before | commanded, await self.agree())
        assert disagreements(told) == {}
        return told


def _figures(facts: Facts) -> Facts:
    return {(name, what): value for (name, what), value in facts.items() if what in FIGURES}


@pytest.fixture
def answering() -> dict[str, Answering]:
    """What the five backends do."""
    return {name: Answering() for name in NAMES}


@pytest.fixture
async def backends(answering: dict[str, Answering]) -> AsyncIterator[dict[str, Backend]]:
    """Five, by their names."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(Backend(each)) for name, each in answering.items()}


@asynccontextmanager
async def under_way(port: int) -> AsyncIterator[None]:
    """A request that waits for its answer, and a tunnel."""
    async with RawClient(port) as held, RawClient(port) as tunnel:
        await held.request("GET", "/hold")
        await tunnel.request("GET", "/chat", UPGRADE)
        assert (await tunnel.read_head()).status == 101
        yield


def has_held(backend: Backend) -> bool:
    """Whether the request that waits has come to it."""
    return any(request.target == b"/hold" for request in backend.requests)


async def is_down(store: Redis, name: str) -> bool:
    """Whether the view says so: a condition to wait for."""
    return await store.hget(KEYS.backend(name), "state") == "unhealthy"


async def ask(port: int, count: int) -> None:
    """So many requests, one after the other."""
    async with RawClient(port) as client:
        for _ in range(count):
            await client.request()
            await client.read_response()


def config(folder: Path, backends: dict[str, Backend], store: RedisServer) -> Path:
    """With limits of alpha, and an ejection that outlasts the test."""
    file = write_config(folder, backends, store={"url": store.url})
    limited = file.read_text().replace('id = "alpha"', 'id = "alpha", max_inflight = 8, max_requests = 100000')
    file.write_text(limited + RULES)
    return file


async def test_every_place_says_the_same_of_a_system_whatever_becomes_of_it(
    redis_server: RedisServer, backends: dict[str, Backend], answering: dict[str, Answering], tmp_path: Path
):
    file = config(tmp_path, backends, redis_server)
    async with connect(redis_server.url) as store:
        with sidebeat("up", "-c", file, cwd=tmp_path) as program:
            system = await started(program)
            async with Sights(system, store, tmp_path) as sights:
                await eventually(sights.knows_the_workers, every=0.1)
                answering["delta"].fails_each = 4
                await ask(system.port, 50)
                await eventually(sights.times_are_those_of_the_buckets, every=0.1)
                await eventually(sights.in_traffic, within=45, every=0.1)
                async with under_way(system.port):
                    await eventually(lambda: any(has_held(each) for each in backends.values()))
                    told = await eventually(sights.agree, within=45, every=0.1)
                    assert told["status"]["", "tunnels"] == 1
                    in_flight: list[Any] = [told["explain"][name, "in flight"] for name in NAMES]
                    assert sum(in_flight) == 2

                    answering["delta"].fails_each = 1
                    await ask(system.port, 50)
                    backends["echo"].refuse()
                    await sights.order("bravo", "drain")
                    await second_terminal("weight", "api/charlie", "7", cwd=tmp_path)
                    await eventually(lambda: is_down(store, "echo"))
                    await eventually(sights.agree_on_what_became_of_it, within=45, every=0.1)
                    await eventually(sights.agree_with_commands, within=45)
