"""What a monitor says of its own lease when the store says nothing."""

from redis.asyncio import Redis

from redis_server import RedisServer
from sidecar.contract.connect import connect
from sidecar.contract.keys import PoolKeys
from sidecar.lease import Lease
from sidecar.monitor.clock import WireClock
from sidecar.monitor.tenure import Tenure


async def test_a_lease_that_could_not_be_renewed_is_not_ours(shared_redis: RedisServer, namespace: str):
    """With the store gone, sidebeat_leader stayed at 1 for as long as that was."""
    times = [100.0]
    keys = PoolKeys(namespace, "api")
    store: Redis
    async with connect(shared_redis.url) as store:
        tenure = Tenure(Lease(store, keys, "web-1:42", clock=lambda: times[-1]), WireClock(), keys.pool)
        grant = await tenure.claim()
        assert grant is not None
        tenure.begin(grant)
        before = tenure.is_ours
        times.append(103.0)
        assert (before, tenure.is_ours) == (True, False)
