"""An app of a user's own under plain gunicorn, with our hooks in its conf file: four workers that count together."""

import asyncio
import os
import signal
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from backend import Backend, Connection, Request
from processes import Program, children
from raw_client import RawClient, fetch
from waiting import eventually, free_port

WORKERS = 4
WINDOW_LIMIT, PLACES = 20, 3
ANSWERED = {200, 503}
"""At a place, or for want of one in time, as may happen on a slow machine."""
APP = """
import os
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request, Response
from worker import HealthChecker, LoadBalancer, Proxy

URL = os.environ["BACKEND"]
counted = HealthChecker([{"host": URL, "maxrequests": %d}], interval=86_400)
crowded = HealthChecker([{"host": URL, "max_inflight": %d}], interval=86_400)
by_window, by_places = LoadBalancer(counted), LoadBalancer(crowded, policy="p2c_ewma")

@asynccontextmanager
async def lifespan(app):
    async with Proxy(app), counted, crowded:
        yield

app = FastAPI(lifespan=lifespan)

@app.get("/pid")
async def pid():
    return Response(str(os.getpid()))

@app.get("/window")
async def window(request: Request):
    return await by_window.proxy_pass(request)

@app.get("/places")
async def places(request: Request):
    return await by_places.proxy_pass(request)
""" % (WINDOW_LIMIT, PLACES)  # noqa: UP031 - the app has braces of its own
CONF = """
from worker.hooks import combined
preload_app = True
def post_fork(server, worker):
    server.log.info("mine too: %s", worker.sidebeat_slot)
globals().update(combined(post_fork=post_fork))
"""


class Crowd:
    """A backend that takes its time, or is held up, and counts who is there; probes are answered at once."""

    def __init__(self, backend: Backend) -> None:
        self.most = self.under_way = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        backend.handler = self.handle

    async def handle(self, request: Request, connection: Connection) -> None:
        if request.target == b"/":
            await connection.respond()
            return
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0.02)
            await self.goes_on.wait()
            await connection.respond()
        finally:
            self.under_way -= 1


async def ask_often(port: int, path: str, *, clients: int, times: int) -> Counter[int]:
    """From so many clients at a time, each on a connection of its own: how often with which status."""
    statuses: Counter[int] = Counter()

    async def ask() -> None:
        for _ in range(times):
            async with RawClient(port) as client:
                await client.request("GET", path)
                statuses[(await client.read_response()).status] += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(ask())
    return statuses


async def serving_workers(port: int) -> set[int]:
    return {int((await fetch(port, "/pid")).body) for _ in range(WORKERS * 4)}


async def take_all_places(crowd: Crowd, port: int) -> None:
    """Have more clients than places: all are taken before one is given back, and never more."""
    crowd.most = 0
    crowd.goes_on.clear()
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(ask_often(port, "/places", clients=8, times=3))
        await eventually(lambda: crowd.under_way == PLACES)
        crowd.goes_on.set()
    assert asking.result().keys() <= ANSWERED
    assert crowd.most == PLACES


async def kill_all_while_crowded(program: Program, crowd: Crowd, port: int) -> None:
    """Have all places taken, and kill all workers; new ones are there when it returns."""
    crowd.goes_on.clear()
    async with AsyncExitStack() as stack:
        for _ in range(PLACES):
            client = await stack.enter_async_context(RawClient(port))
            await client.request("GET", "/places")
        await eventually(lambda: crowd.under_way == PLACES)
        killed = set(children(program.pid))
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: len(set(children(program.pid)) - killed) == WORKERS)
    crowd.goes_on.set()


@pytest.mark.timeout(90)
async def test_four_workers_share_their_limits_whether_they_are_killed_or_reloaded(tmp_path: Path, backend: Backend):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "gunicorn.conf.py").write_text(CONF)
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-k", "uvicorn_worker.UvicornWorker", f"-w{WORKERS}"]
    with Program([*command, f"-b127.0.0.1:{port}", "app:app"], cwd=tmp_path, env={"BACKEND": backend.url}) as program:
        await eventually(lambda: len(children(program.pid)) == WORKERS)

        async def all_serve() -> bool:
            return len(await serving_workers(port)) > 1

        await eventually(all_serve, what=lambda: program.output)
        await eventually(lambda: program.said(r"mine too: 3"))
        statuses = await ask_often(port, "/window", clients=8, times=8)
        assert statuses == {200: WINDOW_LIMIT, 503: 64 - WINDOW_LIMIT}

        crowd = Crowd(backend)
        await take_all_places(crowd, port)
        await kill_all_while_crowded(program, crowd, port)
        await eventually(all_serve)
        await eventually(lambda: crowd.under_way == 0)
        await take_all_places(crowd, port)
        before = set(children(program.pid))
        program.send(signal.SIGHUP)
        # A worker of gunicorn's resets what it has just accepted when it goes.
        await eventually(lambda: len(now := set(children(program.pid))) == WORKERS and not now & before)
        await eventually(all_serve)
        assert (await ask_often(port, "/window", clients=4, times=2)).keys() == {503}
        assert "alone" not in program.output
        program.terminate()
        await eventually(lambda: program.status == 0)
        program.assert_nothing_left()
