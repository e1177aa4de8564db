"""Workers' reports and the rates that follow from them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis

from sidecar.collect import AT_ONCE, Collector, Rates, Traffic
from sidecar.contract.codec import report_hash
from sidecar.contract.events import Event
from sidecar.contract.keys import WORKER_MS, PoolKeys, worker_member
from sidecar.contract.latency import BUCKETS
from sidecar.contract.model import Report, Tally

Store = Any  # a client whose replies are str, which redis-py's types cannot say


def report(slot: int = 0, *, beat_s: float = 0.0, life: str = "first", inflight: int = 0, **counts: Any) -> Report:
    """A report on backend ``a``."""
    return Report(
        host="h",
        instance="i",
        slot=slot,
        pid=1,
        incarnation=life,
        heartbeat_ms=1_000_000 + round(beat_s * 1000),
        tallies={"a": Tally(inflight=inflight, **counts)},
    )


@pytest.fixture
async def redis() -> AsyncIterator[Store]:
    async with FakeAsyncRedis(decode_responses=True) as client:
        yield client


@pytest.fixture
def keys(namespace: str) -> PoolKeys:
    return PoolKeys(namespace, "api")


async def put(redis: Store, keys: PoolKeys, *reports: Report) -> None:
    for each in reports:
        member = worker_member(each.host, each.instance, each.slot)
        await redis.zadd(keys.workers, {member: each.heartbeat_ms})
        await redis.hset(keys.worker(member), mapping=report_hash(each))


async def test_every_worker_that_reports_is_read(redis: Store, keys: PoolKeys):
    await put(redis, keys, report(0, requests=3), report(1, requests=4))
    found = await Collector(redis, keys).collect()
    assert sorted(found, key=lambda each: each.slot) == [report(0, requests=3), report(1, requests=4)]


async def test_more_workers_than_are_decoded_at_once_are_all_read(redis: Store, keys: PoolKeys):
    slots = range(2 * AT_ONCE + 1)
    await put(redis, keys, *map(report, slots))
    assert sorted(each.slot for each in await Collector(redis, keys).collect()) == [*slots]


async def test_a_worker_whose_key_expired_is_gone(redis: Store, keys: PoolKeys):
    await put(redis, keys, report(0), report(1))
    await redis.delete(keys.worker("h:i:0"))
    assert [each.slot for each in await Collector(redis, keys).collect()] == [1]


async def test_nobody_has_reported_to_an_empty_store(redis: Store, keys: PoolKeys):
    assert await Collector(redis, keys).collect() == []


async def test_a_report_that_does_not_move_is_not_fresh_though_its_key_stays(redis: Store, keys: PoolKeys):
    now = 50.0
    collector = Collector(redis, keys, clock=lambda: now)
    await put(redis, keys, report(0), report(1))
    assert len(await collector.collect()) == 2
    now += WORKER_MS / 1000 + 0.1
    await put(redis, keys, report(1, beat_s=5.0))
    assert [each.slot for each in await collector.collect()] == [1]


async def test_what_cannot_be_read_is_skipped_and_told_once_until_it_is_mended(
    redis: Store, keys: PoolKeys, caplog: pytest.LogCaptureFixture
):
    collector = Collector(redis, keys)
    await put(redis, keys, report(0), report(1), report(2))
    await redis.hset(keys.worker("h:i:0"), "heartbeat", "yesterday")
    await redis.delete(keys.worker("h:i:1"))
    await redis.rpush(keys.worker("h:i:1"), "garbage")
    for _ in range(3):
        assert [each.slot for each in await collector.collect()] == [2]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert all(text.startswith(Event.STORE_GARBAGE) for text in told)
    await put(redis, keys, report(0))
    assert len(await collector.collect()) == 2
    await redis.hset(keys.worker("h:i:0"), "heartbeat", "yesterday")
    await collector.collect()
    assert len(caplog.records) == 3


async def test_a_list_of_workers_of_another_type_is_nobody_and_makes_way_for_the_next_reports(
    redis: Store, keys: PoolKeys, caplog: pytest.LogCaptureFixture
):
    await redis.set(keys.workers, "garbage")
    collector = Collector(redis, keys)
    for _ in range(3):
        assert await collector.collect() == []
    assert len(caplog.records) == 1
    assert not await redis.exists(keys.workers), "no worker can write to it"


def test_one_report_is_no_rate_yet():
    assert Rates().observe([report(inflight=2, requests=1_000_000)], 0.0) == {"a": Traffic(inflight=2)}


def test_the_rate_is_what_two_reports_differ_by():
    rates = Rates()
    rates.observe([report(requests=1000, failures=10)], 0.0)
    traffic = rates.observe([report(beat_s=2.0, inflight=3, requests=1100, failures=35)], 2.2)
    assert traffic == {"a": Traffic(inflight=3, rps=50.0, error_ratio=0.25)}


def test_a_backend_without_requests_has_no_error_ratio():
    rates = Rates()
    rates.observe([report(requests=5)], 0.0)
    assert rates.observe([report(beat_s=1.0, requests=5)], 1.0) == {"a": Traffic(rps=0.0, error_ratio=None)}


def test_workers_add_up_each_by_its_own_clock():
    rates = Rates()
    rates.observe([report(0, requests=0), report(1, beat_s=-3600.0, requests=500)], 0.0)
    traffic = rates.observe(
        [report(0, beat_s=1.0, inflight=1, requests=10), report(1, beat_s=-3598.0, inflight=2, requests=560)], 1.0
    )
    assert traffic["a"] == Traffic(inflight=3, rps=40.0, error_ratio=0.0)


def test_the_same_report_read_twice_keeps_its_rate():
    rates = Rates()
    rates.observe([report(requests=0)], 0.0)
    second = report(beat_s=1.0, requests=10)
    assert rates.observe([second], 1.0) == rates.observe([second], 1.5)


def test_a_new_incarnation_starts_from_zero():
    rates = Rates()
    rates.observe([report(requests=1000)], 0.0)
    traffic = rates.observe([report(beat_s=2.0, life="second", requests=20)], 2.0)
    assert traffic["a"].rps == 10.0


def test_a_worker_that_missed_a_few_heartbeats_is_counted_on():
    rates = Rates()
    rates.observe([report(requests=1000)], 0.0)
    assert rates.observe([], 5.0) == {}
    assert rates.observe([report(beat_s=10.0, requests=1100)], 10.0)["a"].rps == 10.0


def test_a_worker_that_was_away_for_long_begins_anew():
    rates = Rates()
    rates.observe([report(requests=1000)], 0.0)
    rates.observe([], 100.0)
    assert rates.observe([report(beat_s=101.0, requests=1100)], 101.0)["a"].rps == 0.0


def test_after_a_long_time_without_the_store_what_came_meanwhile_is_not_of_the_last_seconds():
    """Six minutes of responses were the p99 of the ten seconds after the store had come back."""
    rates = Rates()
    rates.observe([report(first_bytes=counted(ms10=1))], 0.0)
    traffic = rates.observe([report(beat_s=360.0, requests=100, first_bytes=counted(ms10=100))], 360.0)["a"]
    assert (traffic.rps, traffic.p99_ms) == (0.0, None)


def test_a_counter_that_fell_is_no_negative_rate():
    rates = Rates()
    rates.observe([report(requests=1000)], 0.0)
    assert rates.observe([report(beat_s=1.0, requests=900)], 1.0)["a"].rps == 0.0


def counted(**numbers: int) -> tuple[int, ...]:
    """Responses by time to headers, such as ``ms10=3``: three that took from 5 to 10 ms."""
    return tuple(numbers.get(f"ms{1000 * bound:g}", 0) for bound in (*BUCKETS, 100))


def test_times_are_those_of_all_workers_in_the_last_ten_seconds():
    rates = Rates()
    rates.observe([report(0, first_bytes=counted(ms5=1000)), report(1)], 0.0)
    now = [report(0, beat_s=1.0, first_bytes=counted(ms5=1000, ms10=50)),
           report(1, beat_s=1.0, first_bytes=counted(ms10=48, ms100=2))]  # fmt: skip
    traffic = rates.observe(now, 1.0)["a"]
    assert [traffic.p50_ms, traffic.p99_ms] == pytest.approx([5 + 5 * 50 / 98, 75])
    for second in range(2, 11):
        assert rates.observe(now, float(second))["a"].p99_ms == pytest.approx(75)
    assert rates.observe(now, 12.5)["a"].p99_ms is None


def test_a_lone_response_after_a_long_silence_has_its_time():
    rates = Rates()
    one, two = (report(beat_s=beat_s, first_bytes=counted(ms10=count)) for beat_s, count in ((1, 1), (60, 2)))
    rates.observe([report()], 0.0)
    rates.observe([one], 1.0)
    for second in range(2, 60):
        rates.observe([one], float(second))
    assert rates.observe([two], 60.0)["a"].p50_ms == pytest.approx(7.5)


def test_a_worker_with_other_buckets_says_nothing_of_times():
    rates = Rates()
    rates.observe([report(0)], 0.0)
    assert rates.observe([report(0, beat_s=1.0, requests=5, first_bytes=(5,))], 1.0)["a"] == Traffic(
        rps=5.0, error_ratio=0.0
    )


def test_a_backend_that_a_report_does_not_name_any_more_is_gone():
    rates = Rates()
    rates.observe([report(requests=1)], 0.0)
    assert rates.observe([replace(report(beat_s=1.0), tallies={})], 1.0) == {}
