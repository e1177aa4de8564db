"""Limits over real workers, masters and a real store, as the backend counts them."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from backend import Backend, Connection, Request
from chain import System, sidebeat, worker_started
from raw_client import RawClient
from redis_server import RedisServer
from waiting import eventually


class Counted:
    """A backend that takes its time, or is held up, and counts who is there."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.most = self.under_way = self.arrivals = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        backend.handler = self.handle

    async def handle(self, request: Request, connection: Connection) -> None:
        self.arrivals += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.01)
        await self.goes_on.wait()
        self.under_way -= 1
        await connection.respond(body=b"ok")


def config(folder: Path, backend: Backend, store: RedisServer, limits: str, *, workers: int, pool: str) -> Path:
    folder.mkdir()
    file = folder / "sidebeat.toml"
    file.write_text(f"""
[store]
url = "{store.url}"
host = "web-1"
[listen]
bind = "127.0.0.1:0"
admin = "127.0.0.1:0"
console = "127.0.0.1:0"
workers = {workers}
[pools.api]
backends = [{{ url = "{backend.url}", id = "b", {limits} }}]
{pool}
""")
    return file


async def saturate(system: System, clients: int, goes_on: Callable[[], bool]) -> Counter[int]:
    """So many clients that ask again as soon as they are answered: how often with which status."""
    statuses: Counter[int] = Counter()

    async def ask_on() -> None:
        async with RawClient(system.port) as client:
            while goes_on():
                await client.request()
                statuses[(await client.read_response()).status] += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(ask_on())
    return statuses


@pytest.mark.timeout(90)
async def test_four_workers_share_five_places_and_use_them(tmp_path: Path, backend: Backend, redis_server: RedisServer):
    counted = Counted(backend)
    file = config(
        tmp_path / "one", backend, redis_server, "max_inflight = 5", workers=4, pool="timeouts.queue_s = 20.0"
    )
    with sidebeat("worker", "-c", file, cwd=tmp_path) as program:
        system = await worker_started(program, workers=4)
        counted.goes_on.clear()
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(saturate(system, 20, lambda: counted.arrivals < 200))
            await eventually(lambda: counted.under_way == 5)
            counted.goes_on.set()
        assert asking.result().keys() == {200}
        assert counted.most == 5


@pytest.mark.timeout(90)
async def test_two_masters_never_ask_for_more_than_a_window_has_and_for_nearly_all_of_it(
    tmp_path: Path, backend: Backend, redis_server: RedisServer
):
    limit, window_s = 100, 2.0

    def window() -> int:
        return int(time.clock_gettime(time.CLOCK_REALTIME) / window_s)

    counted = Counted(backend)
    with ExitStack() as stack:
        systems = []
        for name in ("left", "right"):
            file = config(
                tmp_path / name, backend, redis_server, f"max_requests = {limit}", workers=2,
                pool=f"max_requests_window_s = {window_s}\ntimeouts.queue_s = 1.0",
            )  # fmt: skip
            program = stack.enter_context(sidebeat("worker", "-c", file, cwd=tmp_path))
            systems.append(await worker_started(program))
        first = window()
        async with asyncio.TaskGroup() as tasks:
            for system in systems:
                tasks.create_task(saturate(system, 12, lambda: window() < first + 2))
        last = window()  # who asked at the end has waited, perhaps, and has taken some of this one's
    assert counted.arrivals <= limit * (last - first + 1)
    assert counted.arrivals >= 0.5 * limit * (
        last - first - 1
    )  # how much a busy machine can use, `scripts/limits` says
