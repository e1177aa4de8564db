"""Fixtures of the tests against other people's servers and clients: everything through each lane of ours."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from lanes import LANES, Lane, LaneKind, config_of, serving
from peers import FOLDER, SERVERS, Server, ServerKind, program, started

NodePeer = Callable[[str], ServerKind]


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def node_packages() -> Path:
    """Where node finds what `package.json` names; skips where that is not installed."""
    installed = Path(sys.prefix, "peers", "package.json")
    if not installed.with_name("node_modules").is_dir():
        pytest.skip("the packages of tests/peers/package.json are not installed: that takes npm")
    return installed


@pytest.fixture(scope="session")
def node_peer(request: pytest.FixtureRequest) -> NodePeer:
    """Makes a server of a script here that needs such packages; starting it skips where they are missing."""

    def peer(script: str) -> ServerKind:
        def command(port: int, _folder: Path) -> list[str | Path]:
            return [program("node"), FOLDER / script, str(port), request.getfixturevalue("node_packages")]

        return ServerKind(command=command)

    return peer


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
