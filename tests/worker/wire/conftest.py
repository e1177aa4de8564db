"""Fixtures of the wire tests: every case runs through each lane, on the loop that workers run on."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from backend import Backend
from lanes import LANES, Lane, LaneKind, LoopComplaints, StartLane, config_of, serving


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(params=LANES)
def lane_kind(request: pytest.FixtureRequest) -> LaneKind:
    return LANES[request.param]


@pytest.fixture(autouse=True)
def no_complaints() -> Iterator[None]:
    """The loop has nothing to complain about."""
    complaints = LoopComplaints()
    logger = logging.getLogger("asyncio")
    logger.addHandler(complaints)
    yield
    logger.removeHandler(complaints)
    assert not complaints.lines


@pytest.fixture
async def start_lane(lane_kind: LaneKind) -> AsyncIterator[StartLane]:
    """Starts a lane over these backends; see ``lanes``."""
    async with AsyncExitStack() as stack:

        async def start(*backends: str | dict[str, Any], **sections: Any) -> Lane:
            return await stack.enter_async_context(serving(lane_kind, config_of(*backends, **sections)))

        yield start


@pytest.fixture
async def lane(start_lane: StartLane, backend: Backend) -> Lane:
    """A lane over ``backend`` alone."""
    return await start_lane(backend.url)


@pytest.fixture
async def bad() -> AsyncIterator[Backend]:
    """Another backend, to be spoiled."""
    async with Backend() as bad:
        yield bad
