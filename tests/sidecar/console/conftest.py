import pytest

from published import publish
from redis_server import RedisServer
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.contract.model import Health, Verdict

A, B = (Verdict(id=name, url=f"http://{name}:1", state=Health.HEALTHY, reason="200") for name in ("a", "/run/b"))


@pytest.fixture
def keys(namespace: str) -> PoolKeys:
    return PoolKeys(namespace, "api")


@pytest.fixture
async def store(shared_redis: RedisServer, keys: PoolKeys):
    """With a pool that was published, of two backends that are well."""
    async with connect(shared_redis.url) as store:
        await publish(store, keys, A, B)
        yield store
