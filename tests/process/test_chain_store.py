"""The store and the monitor die, hang and come back under load: no client notices, and the view moves on by itself."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from chain import POOL, Demo, private_store, sidebeat, started, status_of, write_config
from load import Load
from processes import Program
from redis_server import RedisServer
from sidecar.status import PoolStatus
from waiting import eventually

# How to tell its process from the others.
PARTS = {"store": "store.sock", "monitor": "sidecar monitor"}
Act = Callable[[], None]


async def followed(store: str, *, beyond: int) -> PoolStatus:
    """The pool once its epoch is beyond this one and both workers route on it: a condition to wait for."""
    pool = (await status_of(store)).pools[POOL]
    assert (pool.epoch or 0) > beyond, pool
    assert [worker.applied_epoch for worker in pool.workers] == [pool.epoch] * 2, pool
    return pool


async def more_answers(load: Load, count: int = 25) -> None:
    already = len(load.answers)
    await eventually(lambda: len(load.answers) >= already + count)


async def caught_up(store: str, before: PoolStatus, alpha: str) -> PoolStatus:
    """Whether they are where they would be without the gap, in which alpha changed: a condition to wait for."""
    pool = await followed(store, beyond=before.epoch or 0)
    states = {name: backend.state for name, backend in pool.backends.items()}
    assert states == {"alpha": alpha, "bravo": "healthy", "charlie": "healthy"}
    return pool


def without_store(program: Program) -> int:
    """How many more have said that they lost it than that they found it."""
    return program.output.count("store-down") - program.output.count("store-up")


async def goes_through_a_gap(program: Program, load: Load, stop: Act, meanwhile: Act, go_on: Act) -> None:
    """Traffic has to go on in it."""
    all_have_it = without_store(program)
    stop()
    await eventually(lambda: without_store(program) == all_have_it + 3, what="monitor and workers notice")
    meanwhile()
    await more_answers(load)
    go_on()


async def test_without_a_store_traffic_goes_on_and_with_it_the_view_does(
    redis_server: RedisServer, demos: Mapping[str, Demo], tmp_path: Path
):
    store, alpha = redis_server.url, demos["alpha"]
    config = write_config(tmp_path, demos, store={"url": store})
    with sidebeat("up", "-c", config, cwd=tmp_path) as program:
        system = await started(program)
        async with Load(system.port, "/healthz", per_second=25) as load:
            first = await eventually(lambda: followed(store, beyond=0))
            processes = program.descendants()
            await more_answers(load)
            await goes_through_a_gap(program, load, redis_server.kill, alpha.kill, redis_server.start)
            second = await eventually(lambda: caught_up(store, first, "unhealthy"))
            await goes_through_a_gap(program, load, redis_server.pause, alpha.start, redis_server.resume)
            await eventually(lambda: caught_up(store, second, "healthy"))
        load.assert_unharmed()
        assert program.descendants() == processes
        assert not program.said("restarting")


async def kill(program: Program, part: str, store: str, known: PoolStatus) -> PoolStatus:
    """Kill a part of `up` with -9; the pool once all follow what is published after that."""
    (pid,) = [pid for pid, command in program.descendants().items() if PARTS[part] in command]
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: program.said(f"restarting child={part}"))
    return await eventually(lambda: followed(store, beyond=known.epoch or 0))


async def test_a_part_that_is_killed_is_started_again_and_no_request_and_no_worker_notices(
    demos: Mapping[str, Demo], tmp_path: Path
):
    with sidebeat("up", "-c", write_config(tmp_path, demos), cwd=tmp_path) as program:
        system = await started(program)
        store = private_store()
        async with Load(system.port, "/healthz", per_second=25) as load:
            before = pool = await eventually(lambda: followed(store, beyond=0))
            await more_answers(load)
            for part in PARTS:
                pool = await kill(program, part, store, pool)
        load.assert_unharmed()
        assert {worker.pid for worker in pool.workers} == {worker.pid for worker in before.workers}
