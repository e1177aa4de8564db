"""Backends die and come back under load: no client notices, and whoever asks is told."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from chain import Demo, backend_status, sidebeat, started, write_config
from load import Load
from waiting import eventually

# On each route; CHAIN_KILLS=20 is the full run.
KILLS = int(os.environ.get("CHAIN_KILLS", "2"))


async def kill_and_start_again(demo: Demo, folder: Path) -> float:
    """What `sidebeat status --json` tells of it all; returns when it was started again (monotonic)."""
    before = await backend_status(folder, demo.name, state="healthy")
    demo.kill()
    gone = await eventually(lambda: backend_status(folder, demo.name, state="unhealthy"), within=5)
    assert "refused" in gone["reason"]
    assert before["now_ms"] <= gone["since"] <= gone["now_ms"]
    again = time.monotonic()
    demo.start()
    await eventually(lambda: demo.accepts, within=20)
    back = await eventually(lambda: backend_status(folder, demo.name, state="healthy"), within=5)
    assert gone["since"] < back["since"] <= back["now_ms"]
    return again


@pytest.mark.timeout(60 + 20 * KILLS)
@pytest.mark.parametrize("route", ["/healthz", "/slow?ms=200"], ids=["a fast route", "a route of 200 ms"])
async def test_no_client_notices_that_a_backend_is_killed_again_and_again(
    demos: Mapping[str, Demo], tmp_path: Path, route: str
):
    with sidebeat("up", "-c", write_config(tmp_path, demos), cwd=tmp_path) as program:
        system = await started(program)
        async with Load(system.port, route) as load:
            await eventually(lambda: load.shares().keys() == demos.keys())
            since = 0.0
            for _ in range(KILLS):
                busiest, _share = load.shares(since=since).most_common(1)[0]
                since = await kill_and_start_again(demos[busiest], tmp_path)
        load.assert_unharmed()
        assert await system.metric("sidebeat_retries_total"), "the kills hit no request"
