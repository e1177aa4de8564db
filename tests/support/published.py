"""What a monitor and workers write to the store, written by hand."""

from typing import Any

from redis.asyncio import Redis

from sidecar.contract.codec import backend_hash, encode_view, report_hash
from sidecar.contract.keys import PoolKeys, pools_index, worker_member
from sidecar.contract.model import Reading, Report, Tally, Verdict, View

Fields = dict[Any, Any]
EPOCH = 1_763_900_000_123
JUST_NOW = -60_000
"""The age of a beat that is fresh however long a test takes: it is from a minute ahead."""


async def now_ms(store: Redis) -> int:
    seconds, microseconds = await store.time()
    return seconds * 1_000 + microseconds // 1_000


async def publish(
    store: Redis, keys: PoolKeys, *verdicts: Verdict, leader: bool = True, age_ms: int = JUST_NOW
) -> None:
    """Everything a monitor writes, as it writes it."""
    view = View(
        epoch=EPOCH,
        token=7,
        store_id="s1",
        config_hash="c0ffee",
        backends={verdict.id: verdict for verdict in verdicts},
    )
    await store.sadd(pools_index(keys.namespace), keys.pool)
    await store.set(keys.view, encode_view(view))
    beat: Fields = {
        "seq": 1,
        "epoch": EPOCH,
        "store_id": "s1",
        "redis_ms": await now_ms(store) - age_ms,
        "leader": "web-1:42",
    }
    await store.hset(keys.beat, mapping=beat)
    for verdict in verdicts:
        reading = Reading(ok_streak=3, probe_ms=4.25, ttfb_ms=3.5)
        await store.hset(keys.backend(verdict.id), mapping=Fields(backend_hash(verdict, reading)))
    if leader:
        await store.hset(keys.leader, mapping={"owner": "web-1:42", "token": 7, "until_ms": 0})


async def report(
    store: Redis, keys: PoolKeys, slot: int, *, epoch: int = EPOCH, inflight: int = 2, ejected_ms: int = 0
) -> None:
    """What one worker writes."""
    heartbeat = await now_ms(store)
    worker = Report(
        host="web-1", instance="i1", slot=slot, pid=100 + slot, incarnation="x", heartbeat_ms=heartbeat,
        applied_epoch=epoch, view_age_ms=250, tallies={"a": Tally(inflight=inflight, ejected_ms=ejected_ms)},
    )  # fmt: skip
    member = worker_member("web-1", "i1", slot)
    await store.zadd(keys.workers, {member: heartbeat})
    await store.hset(keys.worker(member), mapping=Fields(report_hash(worker)))
