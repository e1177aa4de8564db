"""Whoever is killed in the middle of whatever: what the others know to be under way is what is under way."""

import asyncio
import os
import re
import signal
from contextlib import suppress
from pathlib import Path

from backend import Backend, Connection, Request
from chain import System, sidebeat, worker_started, write_config
from processes import children
from raw_client import RawClient, fetch
from waiting import eventually
from wire import TruncatedError

NO_STORE = {"url": "redis://127.0.0.1:1/0"}  # nobody listens on port 1
GROWS = re.compile(r"_total(\{|$)|_seconds_(bucket|count|sum)\{")
WORKERS, STREAMS, REQUESTS, DEATHS = 5, 6, 12, 20


class Busy:
    """A backend's handler: streams last for as long as their client is there, requests until they are let go."""

    def __init__(self) -> None:
        self.streams = self.waiting = 0
        self.gate = asyncio.Event()

    async def __call__(self, request: Request, connection: Connection) -> None:
        if request.target == b"/stream":
            self.streams += 1
            try:
                await connection.start_chunked()
                await connection.chunk(b"on and on")
                await connection.gone()
            finally:
                self.streams -= 1
            return
        self.waiting += 1
        try:
            await self.gate.wait()
            await connection.respond()
        finally:
            self.waiting -= 1


def replaced(master: int, before: list[int]) -> list[int]:
    """The workers in the order of their births, once the first of them was buried and another one was born."""
    now = children(master)
    born = [pid for pid in now if pid not in before]
    return [*before[1:], *born] if born and before[0] not in now else []


async def one(system: System) -> None:
    """A request, whose worker may die."""
    with suppress(OSError, TruncatedError):
        await fetch(system.port)


async def stream(system: System) -> None:
    """A stream, until its worker dies."""
    async with RawClient(system.port) as client:
        await client.request(target="/stream")
        with suppress(OSError, TruncatedError):
            await client.read_until_close(within=60)


async def totals(system: System) -> dict[str, float]:
    """All that only grows, by name and labels, as one of the workers tells it."""
    lines = [line.rpartition(" ") for line in (await fetch(system.admin, "/metrics")).body.decode().splitlines()]
    return {name: float(value) for name, _, value in lines if GROWS.search(name) and not name.startswith("#")}


async def says_what_it_lacks(system: System) -> bool:
    """Whether all workers were heard, and none has a store or a view: a condition to wait for."""
    lines = (await fetch(system.admin, "/metrics")).body.decode().splitlines()
    wanted = {
        "sidebeat_store_up 0",
        'sidebeat_view_epoch{pool="api"} 0',
        f'sidebeat_workers{{state="serving"}} {WORKERS}',
    }
    return wanted <= set(lines)


async def die_in_mid_load(system: System, busy: Busy, pid: int) -> None:
    """Kill this worker while requests are under way in all of them, and see the requests to their ends."""
    busy.gate.clear()
    async with asyncio.TaskGroup() as requests:
        for _ in range(REQUESTS):
            requests.create_task(one(system))
        await eventually(lambda: busy.waiting == REQUESTS)
        assert await system.metric("sidebeat_inflight") == REQUESTS + STREAMS
        os.kill(pid, signal.SIGKILL)
        busy.gate.set()


async def test_after_each_of_twenty_deaths_in_mid_load_what_is_under_way_is_exactly_what_is_counted(
    tmp_path: Path, backend: Backend
):
    busy = backend.handler = Busy()
    file = write_config(tmp_path, {"alpha": backend}, store=NO_STORE, listen={"workers": WORKERS})
    with sidebeat("worker", "-c", file, cwd=tmp_path) as program:
        system = await worker_started(program, workers=WORKERS)
        async with asyncio.TaskGroup() as streams:
            alive = children(program.pid)
            for _ in range(DEATHS):
                for _ in range(STREAMS - busy.streams):
                    streams.create_task(stream(system))
                await eventually(lambda: busy.streams == STREAMS)
                assert (await fetch(system.port, method="TRACE")).status == 405
                before = await totals(system)

                await die_in_mid_load(system, busy, alive[0])
                alive = await eventually(lambda: replaced(program.pid, alive))  # noqa: B023

                async def is_exact() -> bool:
                    return await system.metric("sidebeat_inflight") == busy.streams

                await eventually(is_exact)
                assert busy.waiting == 0
                after = await totals(system)
                assert not {name: value for name, value in before.items() if after[name] < value}
            backend.drop_connections()
        await eventually(lambda: busy.streams == 0)
        assert await system.metric("sidebeat_inflight") == 0
        assert (await totals(system))['sidebeat_refusals_total{reason="method_refused"}'] == DEATHS
        await eventually(lambda: says_what_it_lacks(system))
        assert program.output.count("worker-gone") == DEATHS
