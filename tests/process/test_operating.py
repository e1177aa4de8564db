"""What an operator is told when the monitor is gone, and when the store is: by every view that there is."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import Backend
from chain import POOL, System, sidebeat, status_of, worker_started, write_config
from processes import Program
from raw_client import fetch
from redis_server import RedisServer
from waiting import eventually, free_port, is_port_open

Ended = tuple[int | None, str, str]


async def ended(folder: Path, *arguments: str) -> Ended:
    """How a command ends that finds the system by itself: status, stdout, stderr."""
    with sidebeat(*arguments, cwd=folder) as program:
        await eventually(lambda: program.status is not None)
        return program.status, program.stdout, program.stderr


async def all_ended(folder: Path, *commands: str) -> list[Ended]:
    """The same of several that run side by side."""
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ended(folder, *command.split())) for command in commands]
    return [each.result() for each in asked]


async def is_missed(store: RedisServer) -> bool:
    """Whether the monitor's lease and its last heartbeat are over: a condition to wait for."""
    pool = (await status_of(store.url)).pools[POOL]
    return pool.leader is None and pool.is_silent


async def has_stale_view(system: System) -> bool:
    """Whether the workers see that, too: a condition to wait for."""
    return await system.metric("sidebeat_view_age_seconds") > 3


async def has_healthy(store: RedisServer) -> bool:
    """Whether the backend was found well, and both workers act on it: a condition to wait for."""
    pool = (await status_of(store.url)).pools[POOL]
    return pool.backends["alpha"].state == "healthy" and {each.applied_epoch for each in pool.workers} == {pool.epoch}


async def misses_the_store(system: System) -> bool:
    """Whether the workers say that it does not answer: a condition to wait for."""
    return b"\nsidebeat_store_up 0\n" in (await fetch(system.admin, "/metrics")).body


@pytest.fixture
def console_port() -> int:
    return free_port()


@pytest.fixture
def parts(
    redis_server: RedisServer, backend: Backend, tmp_path: Path, console_port: int
) -> Iterator[tuple[Program, Program]]:
    """A monitor and a worker, each of its own command."""
    listen = {"console": f"127.0.0.1:{console_port}"}
    file = write_config(tmp_path, {"alpha": backend}, store={"url": redis_server.url}, listen=listen)
    with (
        sidebeat("monitor", "-c", file, cwd=tmp_path) as monitor,
        sidebeat("worker", "-c", file, cwd=tmp_path) as worker,
    ):
        yield monitor, worker


async def test_who_is_gone_is_said_by_every_view_while_the_rest_goes_on(
    redis_server: RedisServer, parts: tuple[Program, Program], tmp_path: Path, console_port: int
):
    """The commands find their system without a file, though there is no `up` whose run directory names the store."""
    monitor, worker = parts
    system = await worker_started(worker)
    await eventually(lambda: is_port_open(console_port))
    await eventually(lambda: has_healthy(redis_server))

    monitor.kill()
    await eventually(lambda: is_missed(redis_server))
    await eventually(lambda: has_stale_view(system))
    assert not is_port_open(console_port)
    status, top, explain, doctor = await all_ended(
        tmp_path, "status", "top --json -n 1", "explain /", "doctor --idle 0"
    )
    assert (status[0], status[2]) == (0, "")
    assert "no monitor leads, last heard from" in status[1]
    pool = json.loads(top[1])["pools"][POOL]
    assert (pool["leader"], pool["backends"]["alpha"]["state"], len(pool["workers"])) == (None, "healthy", 2)
    assert pool["age_ms"] > 3_000
    assert "old (stale)" in explain[1]
    assert (doctor[0], doctor[2]) == (1, "")
    assert "fail  monitor" in doctor[1]
    assert (await fetch(system.port)).status == 200

    redis_server.kill()
    await eventually(lambda: misses_the_store(system))
    status, explain, doctor = await all_ended(tmp_path, "status", "explain /", "doctor --idle 0")
    gone = f"store.url: {redis_server.url} cannot be read: "
    assert (status[0], status[1], status[2].count("\n")) == (1, "", 1)
    assert gone in status[2]
    assert explain[1].rstrip().endswith("the store does not answer")
    assert (doctor[0], doctor[2]) == (1, "")
    assert "fail  store" in doctor[1]
    assert (await fetch(system.port)).status == 200
