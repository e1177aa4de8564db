"""`status`, `top`, `explain`, the console, both kinds of metrics and the keys say the same of one system at one moment."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

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
from sights import FIGURES, Facts, disagreements, of_explain, of_monitor, of_status, of_store, of_workers, untold
from waiting import eventually
from wire import encode_head

KEYS = PoolKeys("default", POOL)
NAMES = ("alpha", "bravo", "charlie", "delta", "echo")
UPGRADE = [("Host", "a"), ("Connection", "Upgrade"), ("Upgrade", "chat")]
PAUSE_S = 0.01
"""What a client rests between two requests, so that backends, clients and sights have turns of the one loop."""
RULES = """
[pools.api.balancing]
policy = "round_robin"
[pools.api.outlier_detection]
base_ejection_s = 60.0
[pools.api.retry]
num_retries = 0
"""


class Answering:
    """A handler: `/hold` waits to be released, an upgrade is an echo, and every so many of the others fail."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.fails_each = 0
        self._count = 0

    async def __call__(self, request: Request, connection: Connection) -> None:
        if request.header("upgrade"):
            await connection.send(encode_head("HTTP/1.1 101 Switching", [("upgrade", "chat"), ("connection", "upgrade")]))
            while data := await connection.reader.some():
                await connection.send(data)
            return
        if request.target == b"/hold":
            await self.release.wait()
        self._count += request.target == b"/"
        fails = self.fails_each and request.target == b"/" and self._count % self.fails_each == 0
        await connection.respond(500 if fails else 200)


class Sights:
    """One running `up`, seen from everywhere."""

    def __init__(self, system: System, store: Redis, folder: Path) -> None:
        console, token_file = system.program.said(r" console url=(\S+) token_file=(\S+)").groups()
        self._system = system
        self._store = store
        self._folder = folder
        self.console = httpx.AsyncClient(
            base_url=console, headers={"authorization": f"Bearer {Path(token_file).read_text().strip()}"}, timeout=10
        )

    async def _look(self) -> tuple[dict[str, Facts], dict[str, Facts]]:
        """What is told without a command, and what stood in the store when all of it was told."""
        told = await of_store(self._store, KEYS)
        told["status"] = of_status((await self.console.get("/api/status")).json()["pools"][POOL])
        told["workers"] = of_workers(samples((await fetch(self._system.admin, "/metrics")).body))
        told["monitor"] = of_monitor(samples((await self.console.get("/metrics")).content))
        return told, await of_store(self._store, KEYS)

    async def in_traffic(self) -> bool:
        """What the monitor makes of traffic that goes on and in part fails is told alike: a condition to wait for."""
        told, after = await self._look()
        made = {place: _figures(told[place]) for place in ("redis", "status", "monitor")}
        assert _figures(after["redis"]) == made["redis"]
        assert disagreements(made) == {}
        assert made["monitor"]["alpha", "rps"] > 0
        assert made["monitor"]["delta", "error_ratio"] > 0
        return True

    async def agree(self) -> dict[str, Facts]:
        """What all of them tell, once they tell the same; the commands, too."""
        await eventually(self._agree_at_once, within=15)
        return await eventually(self._agree_with_commands, within=30, every=0.2)

    async def _agree_at_once(self) -> dict[str, Facts]:
        told, after = await self._look()
        assert after == {place: told[place] for place in after}, "something has changed meanwhile"
        assert disagreements(told) == {}
        return told

    async def _agree_with_commands(self) -> dict[str, Facts]:
        before = await self._agree_at_once()
        commands = [("status", "--json"), ("top", "--json", "-n", "1"), ("explain", "GET", "/", "--json")]
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(second_terminal(*each, cwd=self._folder)) for each in commands]
        status, top, explain = (json.loads(each.result()) for each in asked)
        commanded = {
            "status by command": of_status(status["pools"][POOL]),
            "top": of_status(top["pools"][POOL]),
            "explain": of_explain(explain),
        }
        assert await self._agree_at_once() == before
        told = before | commanded
        assert disagreements(told) == {}
        assert untold(told) == set()
        assert told["status by command"].keys() == told["top"].keys() == told["status"].keys()
        return told


def _figures(facts: Facts) -> Facts:
    return {(name, what): value for (name, what), value in facts.items() if what in FIGURES}


@pytest.fixture
async def backends() -> AsyncIterator[dict[str, Backend]]:
    """Five, by their names."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(Backend(Answering())) for name in NAMES}


@asynccontextmanager
async def traffic(port: int) -> AsyncIterator[None]:
    """Requests, one after the other on each of four connections, until the end of the block."""

    async def ask_on() -> None:
        async with RawClient(port) as client:
            while True:
                await client.request()
                await client.read_response()
                await asyncio.sleep(PAUSE_S)

    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(ask_on()) for _ in range(4)]
        yield
        for task in asking:
            task.cancel()


def config(folder: Path, backends: dict[str, Backend], store: RedisServer) -> Path:
    """With limits of alpha, and an ejection that outlasts the test."""
    file = write_config(folder, backends, store={"url": store.url})
    limited = file.read_text().replace('id = "alpha"', 'id = "alpha", max_inflight = 8, max_requests = 100000')
    file.write_text(limited + RULES)
    return file


async def test_every_place_says_the_same_of_a_system_whatever_becomes_of_it(
    redis_server: RedisServer, backends: dict[str, Backend], tmp_path: Path
):
    handlers = {name: each.handler for name, each in backends.items()}
    file = config(tmp_path, backends, redis_server)
    async with connect(redis_server.url) as store:
        with sidebeat("up", "-c", file, cwd=tmp_path) as program:
            system = await started(program)
            await eventually(lambda: program.said(r" console url="))
            sights = Sights(system, store, tmp_path)
            async with sights.console, RawClient(system.port) as held, RawClient(system.port) as tunnel:
                await held.request("GET", "/hold")
                await tunnel.request("GET", "/chat", UPGRADE)
                assert (await tunnel.read_head()).status == 101
                handlers["delta"].fails_each = 4
                async with traffic(system.port):
                    await eventually(sights.in_traffic, within=15)
                told = await sights.agree()
                import pprint; pprint.pprint(told)
                assert 0
