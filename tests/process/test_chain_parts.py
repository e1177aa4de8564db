"""The parts started apart, as they are in containers: one monitor, two workers, a store that comes last."""

from collections.abc import Mapping
from pathlib import Path

from chain import POOL, Demo, sidebeat, status_of, worker_started, write_config
from raw_client import fetch
from redis_server import RedisServer
from sidecar.status import PoolStatus
from waiting import eventually


async def test_monitor_and_workers_start_before_the_store_and_find_each_other_through_it(
    redis_server: RedisServer, demos: Mapping[str, Demo], tmp_path: Path
):
    async def joined() -> PoolStatus:
        pool = (await status_of(redis_server.url)).pools[POOL]
        assert [backend.state for backend in pool.backends.values()] == ["healthy"] * 3
        assert [worker.applied_epoch for worker in pool.workers] == [pool.epoch] * 4
        return pool

    redis_server.kill()
    config = write_config(tmp_path, demos, store={"url": redis_server.url})
    with (
        sidebeat("monitor", "-c", config, cwd=tmp_path) as monitor,
        sidebeat("worker", "-c", config, cwd=tmp_path) as one,
        sidebeat("worker", "-c", config, cwd=tmp_path) as other,
    ):
        ports = [(await worker_started(program)).port for program in (one, other)]
        for program in (one, other):
            assert program.said(rf"started pid={program.pid} "), "the command becomes gunicorn's master"
        assert [(await fetch(port)).status for port in ports] == [200, 200]

        redis_server.start()
        pool = await eventually(joined)
        assert len({worker.instance for worker in pool.workers}) == 2

        for program in (monitor, one):
            program.terminate()
            await eventually(lambda: program.status is not None)  # noqa: B023 - awaited at once
            assert program.status == 0
            program.assert_nothing_left()
        assert (await fetch(ports[1])).status == 200
