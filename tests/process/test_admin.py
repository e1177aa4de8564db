"""The operator at work on a running system: what was asked for is done by every worker, and outlives everything."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend import Backend, Connection, Request, answers
from chain import POOL, second_terminal, sidebeat, started, status_of, write_config
from processes import Program
from raw_client import fetch
from redis_server import RedisServer
from sidecar.contract.connect import connect
from sidecar.status import BackendStatus
from waiting import eventually


class Holding:
    """A handler that holds its answers to `/slow` back until it is told."""

    def __init__(self) -> None:
        self.held = 0
        self.release = asyncio.Event()

    async def __call__(self, request: Request, connection: Connection) -> None:
        if request.target == b"/slow":
            self.held += 1
            await self.release.wait()
        await connection.respond(body=b"alpha")


@pytest.fixture
async def backends() -> AsyncIterator[dict[str, Backend]]:
    async with Backend(answers(body=b"alpha")) as alpha, Backend(answers(body=b"bravo")) as bravo:
        yield {"alpha": alpha, "bravo": bravo}


async def in_force(store: RedisServer, admin: str) -> BackendStatus:
    """What is known of alpha once both workers act on this: a condition to wait for."""
    pool = (await status_of(store.url)).pools[POOL]
    assert pool.backends["alpha"].admin == admin, pool
    assert [worker.applied_epoch for worker in pool.workers] == [pool.epoch] * 2, pool
    return pool.backends["alpha"]


async def answering(port: int) -> set[bytes]:
    """Which backends answer, when so many ask at once that none of them is always the best."""
    async with asyncio.TaskGroup() as tasks:
        answers = [tasks.create_task(fetch(port)) for _ in range(32)]
    return {answer.result().body for answer in answers}


def kill_monitor(program: Program) -> None:
    (pid,) = [pid for pid, command in program.descendants().items() if "sidecar monitor" in command]
    os.kill(pid, signal.SIGKILL)


async def test_an_order_is_followed_by_all_and_outlives_the_monitor_and_the_store_until_it_is_taken_back(
    redis_server: RedisServer, backends: dict[str, Backend], tmp_path: Path
):
    alpha = backends["alpha"].handler = Holding()
    config = write_config(tmp_path, backends, store={"url": redis_server.url})
    with sidebeat("up", "-c", config, cwd=tmp_path) as program:
        port = (await started(program)).port
        await is_drained_without_harm(alpha, port, redis_server, tmp_path)
        await is_drained_although_all_is_lost(program, redis_server, tmp_path)
        assert await answering(port) == {b"bravo"}
        await second_terminal("ready", "api/alpha", "--wait", "-c", str(config), cwd=tmp_path)
        await eventually(lambda: is_back(port))


async def is_drained_without_harm(alpha: Holding, port: int, store: RedisServer, folder: Path) -> None:
    """It gets no new request and ends what it has, and that is waited for and written down."""
    config = ("-c", str(folder / "sidebeat.toml"))
    async with asyncio.TaskGroup() as tasks:
        slow = [tasks.create_task(fetch(port, "/slow")) for _ in range(12)]
        await eventually(lambda: alpha.held and alpha.held + sum(task.done() for task in slow) == len(slow))
        with sidebeat("drain", "api/alpha", "--wait", *config, cwd=folder) as drain:
            await eventually(lambda: in_force(store, "drain"))
            already = alpha.held
            assert await answering(port) == {b"bravo"}
            assert (drain.status, alpha.held) == (None, already), "it waits, and nothing new comes"
            alpha.release.set()
            await eventually(lambda: drain.status is not None)
            assert (drain.status, drain.stderr) == (0, "")
            assert drain.stdout.splitlines() == [
                f"{POOL}/alpha: drain (was ready)",
                "in force with 2 of 2 workers; 0 requests in flight",
            ]
    assert {response.result().status for response in slow} == {200}
    event = json.loads(await second_terminal("events", "api/alpha", "--json", "-n", "1", *config, cwd=folder))
    assert (event["from"], event["to"]) == ("ready", "drain")
    assert "@" in event["by"]


async def is_drained_although_all_is_lost(program: Program, store: RedisServer, folder: Path) -> None:
    """The monitor that knew of it, and the store in which it stood."""
    with sidebeat("events", "-f", "-n", "0", "-c", folder / "sidebeat.toml", cwd=folder) as events:
        kill_monitor(program)
        async with connect(store.url) as keys:
            await keys.flushall()
        await eventually(lambda: program.output.count("lease-won") >= 2)
        await eventually(lambda: in_force(store, "drain"))
        await eventually(lambda: events.said(r"/alpha  drain: the store had lost it"))


async def is_back(port: int) -> bool:
    """Whether alpha answers again, which starts slowly: a condition to wait for."""
    return await answering(port) == {b"alpha", b"bravo"}
