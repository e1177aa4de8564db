"""What the workers of a real master decide of a backend outlives every one of them."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend import Backend, answers
from chain import System, sidebeat, worker_started, write_config
from processes import children
from raw_client import fetch
from waiting import eventually

RULES = """
[pools.api.balancing]
policy = "round_robin"  # others hardly ask who fails, so that it takes long until it has failed often
[pools.api.retry]
num_retries = 0
[pools.api.outlier_detection]
base_ejection_s = 60.0
"""
NO_STORE = {"url": "redis://127.0.0.1:1/0"}  # nobody listens on port 1


@pytest.fixture
async def black_hole() -> AsyncIterator[Backend]:
    """Answers everything, and nothing well."""
    async with Backend(answers(500)) as backend:
        yield backend


async def statuses(system: System, count: int) -> set[int]:
    """Of so many requests, each over a connection of its own and so to any worker."""
    return {(await fetch(system.port)).status for _ in range(count)}


async def replace_workers(system: System, number: signal.Signals) -> None:
    """End the workers one after the other, each when the one before has been replaced."""
    for pid in children(system.program.pid):
        booted = system.program.output.count("worker-booted")
        os.kill(pid, number)
        await eventually(lambda: system.program.output.count("worker-booted") > booted)  # noqa: B023
        await eventually(lambda: pid not in children(system.program.pid))  # noqa: B023
        assert await statuses(system, 10) == {200}


async def test_a_black_hole_stays_ejected_over_the_end_of_every_worker(
    tmp_path: Path, backend: Backend, black_hole: Backend
):
    file = write_config(tmp_path, {"good": backend, "bad": black_hole}, store=NO_STORE)
    file.write_text(file.read_text() + RULES)
    with sidebeat("worker", "-c", file, cwd=tmp_path) as program:
        system = await worker_started(program)
        await statuses(system, 100)
        assert len(black_hole.requests) == 5
        assert program.output.count("ejected pool=api backend=bad") == 1

        await replace_workers(system, signal.SIGKILL)
        await replace_workers(system, signal.SIGTERM)

        assert len(black_hole.requests) == 5
        assert await system.metric("sidebeat_ejected") == 1
        assert program.output.count("ejected pool=api backend=bad") == 1
