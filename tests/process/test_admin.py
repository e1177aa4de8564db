"""The operator at work on a running system: what was asked for is done by every worker, and outlives everything."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend import Backend, Connection, Request, answers
from chain import POOL, second_terminal, sidebeat, started, write_config
from processes import Program
from raw_client import fetch
from redis_server import RedisServer
from sidecar.contract.connect import connect
from sidecar.status import BackendStatus, read_status
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
    pool = (await read_status(store.url, "default")).pools[POOL]
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


async def test_a_drained_backend_gets_no_new_request_and_ends_what_it_has(
    redis_server: RedisServer, backends: dict[str, Backend], tmp_path: Path
):
    alpha = backends["alpha"].handler = Holding()
    config = write_config(tmp_path, backends, store={"url": redis_server.url})
    with sidebeat("up", "-c", config, cwd=tmp_path) as program:
        system = await started(program)
        async with asyncio.TaskGroup() as tasks:
            slow = [tasks.create_task(fetch(system.port, "/slow", within=30)) for _ in range(12)]
            await eventually(lambda: alpha.held)
            with sidebeat("drain", "api/alpha", "--wait", "-c", config, cwd=tmp_path) as drain:
                await eventually(lambda: in_force(redis_server, "drain"))
                already = alpha.held
                assert await answering(system.port) == {b"bravo"}
                assert (drain.status, alpha.held) == (None, already), "it waits, and nothing new comes"
                alpha.release.set()
                await eventually(lambda: drain.status is not None)
                assert (drain.status, drain.stderr) == (0, "")
                assert drain.stdout.splitlines() == [
                    f"{POOL}/alpha: drain (was ready)",
                    "in force with 2 of 2 workers; 0 requests in flight",
                ]
        assert {response.result().status for response in slow} == {200}
        events = await second_terminal("events", "api/alpha", "--json", "-n", "1", "-c", str(config), cwd=tmp_path)
        event = json.loads(events)
        assert (event["from"], event["to"]) == ("ready", "drain")
        assert "@" in event["by"]


async def test_an_intent_outlives_the_monitor_and_the_store_until_it_is_taken_back(
    redis_server: RedisServer, backends: dict[str, Backend], tmp_path: Path
):
    config = write_config(tmp_path, backends, store={"url": redis_server.url})
    with sidebeat("up", "-c", config, cwd=tmp_path) as program:
        system = await started(program)
        with sidebeat("events", "-f", "-n", "0", "-c", config, cwd=tmp_path) as events:
            await second_terminal("drain", "api/alpha", "-c", str(config), cwd=tmp_path)
            kill_monitor(program)
            async with connect(redis_server.url) as store:
                await store.flushall()
            await eventually(lambda: program.output.count("lease-won") == 2, within=10)
            await eventually(lambda: in_force(redis_server, "drain"), within=10)
            assert await answering(system.port) == {b"bravo"}
            await eventually(lambda: events.said(r"/alpha  drain: the store had lost it"))
        await second_terminal("ready", "api/alpha", "--wait", "-c", str(config), cwd=tmp_path)
        assert await answering(system.port) == {b"alpha", b"bravo"}
