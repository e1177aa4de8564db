"""Fixtures of the tests against other people's servers and clients: everything through each lane of ours."""

from collections.abc import AsyncIterator, Iterator

import pytest

from lanes import LANES, Lane, LaneKind, config_of, serving
from peers import SERVERS, Server, started


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(params=LANES)
def lane_kind(request: pytest.FixtureRequest) -> LaneKind:
    return LANES[request.param]


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server for everybody: leave it running."""
    with started(SERVERS[request.param]) as server:
        yield server


@pytest.fixture
async def lane(lane_kind: LaneKind, server: Server) -> AsyncIterator[Lane]:
    """A lane over ``server``."""
    async with serving(lane_kind, config_of(server.url)) as lane:
        yield lane
