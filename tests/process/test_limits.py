"""Limits over real workers, masters and a real store, as the backend counts them."""

import asyncio
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from backend import Backend, Connection, Request
from chain import System, sidebeat, worker_started
from raw_client import RawClient
from redis_server import RedisServer

SERVICE_S = 0.05


class Counted:
    """A backend that takes its time, and counts who is there."""

    def __init__(self, backend: Backend, *, service_s: float = SERVICE_S) -> None:
        self.backend = backend
        self.most = self.under_way = 0
        self.busy_s = 0.0
        self.arrivals: list[float] = []
        self._service_s = service_s
        backend.handler = self.handle

    async def handle(self, request: Request, connection: Connection) -> None:
        began = time.monotonic()
        self.arrivals.append(time.clock_gettime(time.CLOCK_REALTIME))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(self._service_s)
        self.under_way -= 1
        self.busy_s += time.monotonic() - began
        await connection.respond(body=b"ok")


def config(folder: Path, backend: Backend, store: RedisServer, limits: str, *, name: str, pool: str = "") -> Path:
    folder = folder / name
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
workers = {8 if name == "one" else 4}
[pools.api]
backends = [{{ url = "{backend.url}", id = "b", {limits} }}]
{pool}
[pools.api.timeouts]
queue_s = 1.0
""")
    return file


async def saturate(system: System, clients: int, until: float) -> Counter[int]:
    """So many clients that ask again as soon as they are answered: how often with which status."""
    statuses: Counter[int] = Counter()

    async def ask_on() -> None:
        async with RawClient(system.port) as client:
            while time.monotonic() < until:
                await client.request()
                statuses[(await client.read_response(within=10)).status] += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(ask_on())
    return statuses


@pytest.mark.timeout(90)
async def test_eight_workers_share_five_places_and_use_them(
    tmp_path: Path, backend: Backend, redis_server: RedisServer
):
    counted = Counted(backend)
    file = config(tmp_path, backend, redis_server, "max_inflight = 5", name="one")
    with sidebeat("worker", "-c", file, cwd=tmp_path) as program:
        system = await worker_started(program, workers=8)
        await saturate(system, 20, time.monotonic() + 0.5)
        began, busy_s = time.monotonic(), counted.busy_s
        statuses = await saturate(system, 20, began + 2.5)
        lasted_s = time.monotonic() - began
        assert statuses.keys() == {200}
        assert counted.most == 5
        assert counted.busy_s - busy_s >= 0.5 * 5 * lasted_s  # a busy machine uses less; `scripts/limits` measures


@pytest.mark.timeout(90)
async def test_two_masters_never_ask_for_more_than_a_window_has_and_for_nearly_all_of_it(
    tmp_path: Path, backend: Backend, redis_server: RedisServer
):
    limit, window_s = 200, 2.0
    counted = Counted(backend, service_s=0.0)
    with ExitStack() as stack:
        systems = []
        for name in ("left", "right"):
            file = config(
                tmp_path, backend, redis_server, f"max_requests = {limit}", name=name,
                pool=f"max_requests_window_s = {window_s}",
            )  # fmt: skip
            program = stack.enter_context(sidebeat("worker", "-c", file, cwd=tmp_path))
            systems.append(await worker_started(program, workers=4))
        now = time.clock_gettime(time.CLOCK_REALTIME)
        until = time.monotonic() + (now // window_s + 2) * window_s + 0.1 - now  # one whole window, and a little
        async with asyncio.TaskGroup() as tasks:
            for system in systems:
                tasks.create_task(saturate(system, 12, until))
    windows = Counter(int(at / window_s) for at in counted.arrivals)
    # Who counts late takes some of one window for the next one's; `scripts/limits` counts in a process of its own.
    pairs = [windows[number] + windows[number + 1] for number in windows]
    assert max(pairs) <= 2 * limit, windows
    whole = [windows[number] for number in sorted(windows)[1:-1]]
    assert whole
    assert min(whole) >= 0.5 * limit, windows  # how much of it a busy machine can use, `scripts/limits` says
