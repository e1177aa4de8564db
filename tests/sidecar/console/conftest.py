import pytest

import sidecar.contract.connect as connect_module
import sidecar.status.read as read_module
from published import publish
from redis_server import RedisServer
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Health, Verdict

A, B = (Verdict(id=name, url=f"http://{name}:1", state=Health.HEALTHY, reason="200") for name in ("a", "/run/b"))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that a busy machine lets wait is not away."""
    monkeypatch.setattr(connect_module, "SOCKET_TIMEOUT_S", 20.0)
    monkeypatch.setattr(read_module, "PATIENCE_S", 20.0)


@pytest.fixture
def keys(namespace: str) -> PoolKeys:
    return PoolKeys(namespace, "api")


@pytest.fixture
async def store(shared_redis: RedisServer, keys: PoolKeys):
    """With a pool that was published, of two backends that are well."""
    async with connect(shared_redis.url) as store:
        await publish(store, keys, A, B)
        yield store
