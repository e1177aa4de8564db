"""What tests share. Async tests run on asyncio; nothing of a developer's own sidebeat reaches them."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from backend import Backend
from redis_server import RedisServer

# An example that took long says something of the machine, whose other core is running another test.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def private_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No SIDEBEAT_* from outside, and an empty place for run directories.

    The place is short, unlike pytest's: a unix socket's path must stay below 108 bytes.
    """
    for name in [name for name in os.environ if name.upper().startswith("SIDEBEAT_")]:
        monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(prefix="run-") as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        yield


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A server of the test's own, to be killed, paused and started again."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One server for everybody who only reads and writes; use it with `namespace`, and leave it running."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    """A backend that answers 200 `ok` until its handler is replaced."""
    async with Backend() as backend:
        yield backend
