"""The store and the monitor die, hang and come back under load: no client notices, and the view moves on by itself."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from chain import POOL, Demo, sidebeat, started, write_config
from load import Load
from processes import Program
from redis_server import RedisServer
from sidecar.contract.connect import socket_url
from sidecar.contract.rundir import store_socket
from sidecar.status import PoolStatus, read_status
from waiting import eventually

# How to tell its process from the others.
PARTS = {"store": "store.sock", "monitor": "sidecar monitor"}


async def followed(store: str, *, beyond: int) -> PoolStatus:
    """The pool once its epoch is beyond this one and both workers route on it: a condition to wait for."""
    pool = (await read_status(store, "default")).pools[POOL]
    assert (pool.epoch or 0) > beyond, pool
    assert [worker.applied_epoch for worker in pool.workers] == [pool.epoch] * 2, pool
    return pool


async def more_answers(load: Load, count: int = 50) -> None:
    already = len(load.answers)
    await eventually(lambda: len(load.answers) >= already + count)


async def caught_up(store: str, before: PoolStatus) -> PoolStatus:
    """Whether they are where they would be without the gap, in which alpha died: a condition to wait for."""
    pool = await followed(store, beyond=before.epoch or 0)
    states = {name: backend.state for name, backend in pool.backends.items()}
    assert states == {"alpha": "unhealthy", "bravo": "healthy", "charlie": "healthy"}
    return pool


@pytest.mark.parametrize(
    ("stop", "go_on"),
    [(RedisServer.kill, RedisServer.start), (RedisServer.pause, RedisServer.resume)],
    ids=["killed", "hanging"],
)
async def test_without_a_store_traffic_goes_on_and_with_it_the_view_does(
    redis_server: RedisServer,
    demos: Mapping[str, Demo],
    tmp_path: Path,
    stop: Callable[[RedisServer], None],
    go_on: Callable[[RedisServer], None],
):
    config = write_config(tmp_path, demos, store={"url": redis_server.url})
    with sidebeat("up", "-c", config, cwd=tmp_path) as program:
        system = await started(program)
        async with Load(system.port, "/healthz") as load:
            before = await eventually(lambda: followed(redis_server.url, beyond=0))
            processes = program.descendants()
            await more_answers(load)
            stop(redis_server)
            await eventually(lambda: program.output.count("store-down") == 3, what="monitor and workers notice")
            demos["alpha"].kill()
            await more_answers(load)
            go_on(redis_server)
            await eventually(lambda: caught_up(redis_server.url, before), within=10)
        load.assert_unharmed()
        assert program.descendants() == processes
        assert not program.said("restarting")


async def kill(program: Program, part: str, store: str, known: PoolStatus) -> PoolStatus:
    """Kill a part of `up` with -9; the pool once all follow what is published after that."""
    (pid,) = [pid for pid, command in program.descendants().items() if PARTS[part] in command]
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: program.said(f"restarting child={part}"))
    return await eventually(lambda: followed(store, beyond=known.epoch or 0), within=10)


async def test_a_part_that_is_killed_is_started_again_and_no_request_and_no_worker_notices(
    demos: Mapping[str, Demo], tmp_path: Path
):
    with sidebeat("up", "-c", write_config(tmp_path, demos), cwd=tmp_path) as program:
        system = await started(program)
        store = socket_url(store_socket("default", os.environ))
        async with Load(system.port, "/healthz") as load:
            before = pool = await eventually(lambda: followed(store, beyond=0))
            await more_answers(load)
            for part in PARTS:
                pool = await kill(program, part, store, pool)
        load.assert_unharmed()
        assert {worker.pid for worker in pool.workers} == {worker.pid for worker in before.workers}
