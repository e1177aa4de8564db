"""Backends die and come back under load: no client notices, and whoever asks is told."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from chain import POOL, Demo, private_store, second_terminal, sidebeat, started, status_of, write_config
from load import Load
from sidecar.status import BackendStatus
from waiting import eventually

# CHAIN_KILLS=20 is the full run.
KILLS = int(os.environ.get("CHAIN_KILLS", "2"))

# Times of verdicts are exact to half of a round trip to the store, which may take long on a busy machine.
TRIP_MS = 2_000


async def known(name: str, state: str) -> tuple[BackendStatus, int]:
    """What is known of a backend in this state, and when by the store's clock: a condition to wait for."""
    status = await status_of(private_store())
    backend = status.pools[POOL].backends[name]
    assert backend.state == state, backend
    return backend, status.now_ms


async def told(folder: Path, name: str) -> dict[str, Any]:
    """What `sidebeat status --json` tells of it."""
    status = json.loads(await second_terminal("status", "--json", cwd=folder))
    backend: dict[str, Any] = status["pools"][POOL]["backends"][name]
    return backend


async def kill_and_start_again(demo: Demo, folder: Path) -> float:
    """What is told of it all; returns when it was started again (monotonic)."""
    _, before_ms = await known(demo.name, "healthy")
    demo.kill()
    gone, gone_ms = await eventually(lambda: known(demo.name, "unhealthy"))
    assert "refused" in gone.reason
    assert gone.since is not None
    assert before_ms - TRIP_MS <= gone.since <= gone_ms + TRIP_MS
    said = await told(folder, demo.name)
    assert (said["state"], said["reason"], said["since"]) == ("unhealthy", gone.reason, gone.since)
    again = time.monotonic()
    demo.start()
    await eventually(lambda: demo.accepts)
    back, back_ms = await eventually(lambda: known(demo.name, "healthy"))
    assert back.since is not None
    assert gone.since < back.since <= back_ms + TRIP_MS
    return again


@pytest.mark.timeout(120 + 20 * KILLS)
async def test_no_client_notices_that_a_backend_is_killed_again_and_again(demos: Mapping[str, Demo], tmp_path: Path):
    with sidebeat("up", "-c", write_config(tmp_path, demos), cwd=tmp_path) as program:
        system = await started(program)
        # On a fast route, and on one on which requests are under way at any time.
        async with (
            Load(system.port, "/healthz", per_second=25) as fast,
            Load(system.port, "/slow?ms=200", per_second=25) as slow,
        ):
            await eventually(lambda: fast.shares().keys() == slow.shares().keys() == demos.keys())
            since = 0.0
            for _ in range(KILLS):
                busiest, _share = slow.shares(since=since).most_common(1)[0]
                since = await kill_and_start_again(demos[busiest], tmp_path)
        fast.assert_unharmed()
        slow.assert_unharmed()
        assert await system.metric("sidebeat_retries_total"), "the kills hit no request"
